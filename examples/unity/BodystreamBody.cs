// Moves a humanoid avatar as the person whose poses `bodystream publish --name body0` writes to shared memory.
// Put it beside the Animator of an avatar whose rig is Humanoid, and leave the Animator without a controller.
using System.Collections.Generic;
using System.IO;
using UnityEngine;

namespace Bodystream
{
    public sealed class BodystreamBody : MonoBehaviour
    {
        /// <summary>Of each joint of bodystream, in its order.</summary>
        public static readonly HumanBodyBones[] Bones =
        {
            HumanBodyBones.Hips, HumanBodyBones.LeftUpperLeg, HumanBodyBones.RightUpperLeg, HumanBodyBones.Spine,
            HumanBodyBones.LeftLowerLeg, HumanBodyBones.RightLowerLeg, HumanBodyBones.Chest, HumanBodyBones.LeftFoot,
            HumanBodyBones.RightFoot, HumanBodyBones.UpperChest, HumanBodyBones.LeftToes, HumanBodyBones.RightToes,
            HumanBodyBones.Neck, HumanBodyBones.LeftShoulder, HumanBodyBones.RightShoulder, HumanBodyBones.Head,
            HumanBodyBones.LeftUpperArm, HumanBodyBones.RightUpperArm, HumanBodyBones.LeftLowerArm,
            HumanBodyBones.RightLowerArm, HumanBodyBones.LeftHand, HumanBodyBones.RightHand,
        };

        const int HeadJoint = 15;

        [Tooltip("The name that bodystream publishes under.")]
        public string bodyName = "body0";
        [Tooltip("Scale the person's places to the avatar's height.")]
        public bool fitToAvatar = true;

        /// <summary>Of what is shown: how old it is, and how well it was tracked.</summary>
        public float AgeMs { get; private set; }
        public Status Status { get; private set; }
        public bool HasWriter { get { return reader != null; } }

        readonly Pose pose = new Pose();
        readonly Transform[] bones = new Transform[Pose.Joints];
        readonly Quaternion[] restRotations = new Quaternion[Pose.Joints]; // in the T-pose, as seen from this object
        BodystreamReader reader;
        float avatarHeadM, nextLook;
        string told = "";

        void Start()
        {
            Animator animator = GetComponent<Animator>();
            TakeTPose(animator);
            for (int joint = 0; joint < Pose.Joints; joint++)
            {
                bones[joint] = animator.GetBoneTransform(Bones[joint]);
                if (bones[joint] != null)
                    restRotations[joint] = Quaternion.Inverse(transform.rotation) * bones[joint].rotation;
            }
            if (bones[HeadJoint] != null)
                avatarHeadM = transform.InverseTransformPoint(bones[HeadJoint].position).y;
        }

        void LateUpdate()
        {
            if (reader == null && Time.unscaledTime >= nextLook) Look();
            if (reader == null) return;
            if (reader.Read(pose)) Show(pose);
            else if (!reader.IsAlive) Leave();
        }

        void OnDestroy() { Leave(); }

        /// <summary>Bring the avatar into a pose.</summary>
        public void Show(Pose shown)
        {
            Status = shown.Status;
            AgeMs = (BodystreamReader.NowNs - shown.SampleNs) * 1e-6f;
            float scale = fitToAvatar && avatarHeadM > 0f && shown.StatureM > 0f ? avatarHeadM / shown.StatureM : 1f;
            for (int joint = 0; joint < Pose.Joints; joint++) // parents come before their children
            {
                if (bones[joint] == null) continue;
                bones[joint].rotation = transform.rotation * RotationOf(shown, joint) * restRotations[joint];
                if (joint == 0) bones[joint].position = transform.TransformPoint(PositionOf(shown, joint) * scale);
            }
        }

        /// <summary>In Unity's axes, which are ours in a mirror: left-handed, z ahead.</summary>
        public static Vector3 PositionOf(Pose shown, int joint)
        {
            float[] at = shown.PositionsM;
            return new Vector3(at[3 * joint], at[3 * joint + 1], -at[3 * joint + 2]);
        }

        public static Quaternion RotationOf(Pose shown, int joint)
        {
            float[] turn = shown.RotationsXyzw;
            return new Quaternion(-turn[4 * joint], -turn[4 * joint + 1], turn[4 * joint + 2], turn[4 * joint + 3]);
        }

        /// <summary>The T-pose is in the avatar's description, whatever pose the model was made in.</summary>
        void TakeTPose(Animator animator)
        {
            Dictionary<string, Transform> byName = new Dictionary<string, Transform>();
            foreach (Transform each in animator.GetComponentsInChildren<Transform>()) byName[each.name] = each;
            foreach (SkeletonBone bone in animator.avatar.humanDescription.skeleton)
            {
                Transform found;
                if (byName.TryGetValue(bone.name, out found) && found != transform) found.localRotation = bone.rotation;
            }
        }

        void Look()
        {
            nextLook = Time.unscaledTime + 0.5f;
            try
            {
                reader = BodystreamReader.TryOpen(bodyName);
                if (reader != null && !reader.OffersPoses) Tell(bodyName + " has surfaces only: publish with --headset");
            }
            catch (InvalidDataException error) { Tell(error.Message); }
        }

        void Leave()
        {
            if (reader != null) reader.Dispose();
            reader = null;
        }

        void Tell(string text)
        {
            if (text != told) Debug.LogWarning("bodystream: " + text);
            told = text;
        }
    }
}
