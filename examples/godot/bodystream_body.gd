## Feeds an XRBodyTracker with the body of `bodystream publish --name body0`, by shared memory.
##
## Godot 4.3 or newer, on Linux. Add this node to a scene, and an XRBodyModifier3D with the same tracker name to a
## Skeleton3D that follows Godot's humanoid profile (the importer's "Bone Map" does that): the avatar then moves as the
## person does. Nothing else has to be installed. docs/godot.md tells more.
extends Node

## Told when the writer comes (true) or goes (false), for a label or a log.
signal writer_changed(is_there: bool)

const ABI := 1
const JOINTS := 22
# Offsets of include/bodystream.h.
const HEADER_BYTES := 1024
const AT_ABI := 8
const AT_OFFERS := 36
const AT_POSE_OFFSET := 40
const AT_POSE_STRIDE := 44
const AT_POSE_SLOTS := 48
const AT_HEARTBEAT := 704
const AT_ENDED := 712
const AT_POSE_NUMBER := 768
const AT_POSE := 64
const AT_STATUS := 24
const AT_JOINTS := 40
const JOINT_BYTES := 48
const OFFERS_POSES := 1
const LOST := 0
const DEAD_AFTER_MS := 2000

## Of each joint of bodystream, in its order: Godot's joint, and the x and y axes that Godot's humanoid gives it in the
## T-pose that looks along -z, where all of bodystream's rotations are the identity. y runs along the bone.
const GODOT_JOINTS: Array[Array] = [
	[XRBodyTracker.JOINT_HIPS, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_UPPER_LEG, Vector3.RIGHT, Vector3.DOWN],
	[XRBodyTracker.JOINT_RIGHT_UPPER_LEG, Vector3.RIGHT, Vector3.DOWN],
	[XRBodyTracker.JOINT_SPINE, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_LOWER_LEG, Vector3.LEFT, Vector3.DOWN],
	[XRBodyTracker.JOINT_RIGHT_LOWER_LEG, Vector3.LEFT, Vector3.DOWN],
	[XRBodyTracker.JOINT_CHEST, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_FOOT, Vector3.RIGHT, Vector3.FORWARD],
	[XRBodyTracker.JOINT_RIGHT_FOOT, Vector3.RIGHT, Vector3.FORWARD],
	[XRBodyTracker.JOINT_UPPER_CHEST, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_TOES, Vector3.LEFT, Vector3.FORWARD],
	[XRBodyTracker.JOINT_RIGHT_TOES, Vector3.LEFT, Vector3.FORWARD],
	[XRBodyTracker.JOINT_NECK, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_SHOULDER, Vector3.FORWARD, Vector3.LEFT],
	[XRBodyTracker.JOINT_RIGHT_SHOULDER, Vector3.BACK, Vector3.RIGHT],
	[XRBodyTracker.JOINT_HEAD, Vector3.LEFT, Vector3.UP],
	[XRBodyTracker.JOINT_LEFT_UPPER_ARM, Vector3.BACK, Vector3.LEFT],
	[XRBodyTracker.JOINT_RIGHT_UPPER_ARM, Vector3.FORWARD, Vector3.RIGHT],
	[XRBodyTracker.JOINT_LEFT_LOWER_ARM, Vector3.DOWN, Vector3.LEFT],
	[XRBodyTracker.JOINT_RIGHT_LOWER_ARM, Vector3.UP, Vector3.RIGHT],
	[XRBodyTracker.JOINT_LEFT_HAND, Vector3.BACK, Vector3.LEFT],
	[XRBodyTracker.JOINT_RIGHT_HAND, Vector3.FORWARD, Vector3.RIGHT],
]

## The name that bodystream publishes under.
@export var body_name := "body0"
## The tracker that XRBodyModifier3D nodes follow.
@export var tracker_name: StringName = &"/user/body_tracker"

var _tracker := XRBodyTracker.new()
var _is_added := false
var _is_there := false
var _last_number := 0
var _heartbeat := 0
var _heartbeat_ms := 0
var _told := ""


func _ready() -> void:
	_tracker.name = tracker_name
	_tracker.body_flags = (
		XRBodyTracker.BODY_FLAG_UPPER_BODY_SUPPORTED | XRBodyTracker.BODY_FLAG_LOWER_BODY_SUPPORTED
	)


func _process(_delta: float) -> void:
	var slot := _newest_slot()
	var is_there := not slot.is_empty()
	if is_there != _is_there:
		_is_there = is_there
		writer_changed.emit(is_there)
	if not is_there:
		_tracker.has_tracking_data = false
		return
	_feed(slot)


func _exit_tree() -> void:
	if _is_added:
		XRServer.remove_tracker(_tracker)
		_is_added = false


## The newest slot of the ring of poses, whole; empty where nobody writes.
func _newest_slot() -> PackedByteArray:
	var path := "/dev/shm/bodystream." + body_name
	if not FileAccess.file_exists(path):
		return PackedByteArray()
	for _attempt in 10:
		var file := FileAccess.open(path, FileAccess.READ)
		if file == null:
			return PackedByteArray()
		var header := file.get_buffer(HEADER_BYTES)
		if not _is_usable(header):
			return PackedByteArray()
		var number := header.decode_u64(AT_POSE_NUMBER)
		if number == 0:
			return PackedByteArray()
		var stride := header.decode_u32(AT_POSE_STRIDE)
		var at := header.decode_u32(AT_POSE_OFFSET) + (number - 1) % header.decode_u32(AT_POSE_SLOTS) * stride
		file.seek(at)
		var slot := file.get_buffer(stride)
		# Opened again, since a file keeps what it has read: the sequence has to be that of now.
		var again := FileAccess.open(path, FileAccess.READ)
		if again == null:
			return PackedByteArray()
		again.seek(at)
		if slot.size() == stride and slot.decode_u64(0) == 2 * number and again.get_64() == 2 * number:
			return slot
	return PackedByteArray()


func _is_usable(header: PackedByteArray) -> bool:
	if header.size() < HEADER_BYTES or header.slice(0, 7).get_string_from_ascii() != "BODYSHM":
		return false
	if header.decode_u32(AT_ABI) != ABI:
		_tell(
			(
				"bodystream publishes ABI %d and this script reads ABI %d: take the script of that bodystream"
				% [header.decode_u32(AT_ABI), ABI]
			)
		)
		return false
	if header.decode_u32(AT_OFFERS) & OFFERS_POSES == 0:
		_tell("%s publishes surfaces only: publish with --headset" % body_name)
		return false
	if header.decode_s64(AT_ENDED) != 0:
		return false
	# Godot's clock is not that of the writer: that it lives shows in a heartbeat that changes.
	var heartbeat := header.decode_s64(AT_HEARTBEAT)
	if heartbeat != _heartbeat:
		_heartbeat = heartbeat
		_heartbeat_ms = Time.get_ticks_msec()
	return Time.get_ticks_msec() - _heartbeat_ms < DEAD_AFTER_MS


func _feed(slot: PackedByteArray) -> void:
	var number := slot.decode_u64(AT_POSE)
	if number == _last_number:
		return
	_last_number = number
	var is_tracked := slot.decode_u32(AT_POSE + AT_STATUS) != LOST
	var flags := XRBodyTracker.JOINT_FLAG_ORIENTATION_VALID | XRBodyTracker.JOINT_FLAG_POSITION_VALID
	if is_tracked:
		flags |= XRBodyTracker.JOINT_FLAG_ORIENTATION_TRACKED | XRBodyTracker.JOINT_FLAG_POSITION_TRACKED
	var hips := Transform3D.IDENTITY
	for joint in JOINTS:
		var entry: Array = GODOT_JOINTS[joint]
		var placed := joint_transform(slot, AT_POSE + AT_JOINTS + joint * JOINT_BYTES, entry[1], entry[2])
		if joint == 0:
			hips = placed
		_tracker.set_joint_transform(entry[0], placed)
		_tracker.set_joint_flags(entry[0], flags)
	# The root stands on the floor below the hips, turned as they are about the vertical.
	var left := (hips.basis.x * Vector3(1.0, 0.0, 1.0)).normalized()
	var root := Transform3D(
		Basis(left, Vector3.UP, left.cross(Vector3.UP)), Vector3(hips.origin.x, 0.0, hips.origin.z)
	)
	_tracker.set_joint_transform(XRBodyTracker.JOINT_ROOT, root)
	_tracker.set_joint_flags(XRBodyTracker.JOINT_ROOT, flags)
	_tracker.set_pose(&"default", root, Vector3.ZERO, Vector3.ZERO, XRPose.XR_TRACKING_CONFIDENCE_HIGH)
	_tracker.has_tracking_data = is_tracked
	if not _is_added:
		XRServer.add_tracker(_tracker)
		_is_added = true


## Where a joint is, in Godot's axes, which are bodystream's: right-handed, y up, metres.
static func joint_transform(slot: PackedByteArray, at: int, x_axis: Vector3, y_axis: Vector3) -> Transform3D:
	var origin := Vector3(slot.decode_float(at), slot.decode_float(at + 4), slot.decode_float(at + 8))
	var turn := Quaternion(
		slot.decode_float(at + 12),
		slot.decode_float(at + 16),
		slot.decode_float(at + 20),
		slot.decode_float(at + 24)
	)
	var rest := Basis(x_axis, y_axis, x_axis.cross(y_axis))
	return Transform3D(Basis(turn.normalized()) * rest, origin)


func _tell(text: String) -> void:
	if text != _told:
		_told = text
		push_warning(text)
