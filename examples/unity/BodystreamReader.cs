// Reads what `bodystream publish` writes to shared memory: include/bodystream.h in C#. It needs no Unity, no native
// plug-in and no unsafe code, so that any .NET program may use it. Linux and Windows.
using System;
using System.Diagnostics;
using System.IO;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Threading;

namespace Bodystream
{
    public enum Status { Lost = 0, Degraded = 1, Tracked = 2 }

    /// <summary>One pose; arrays are filled anew by each read. Right-handed, y up, -z ahead, metres.</summary>
    public sealed class Pose
    {
        public const int Joints = 22;
        public ulong Number;
        /// <summary>When head and hands were measured, on the clock of BodystreamReader.NowNs.</summary>
        public long SampleNs;
        public Status Status;
        public uint Flags;
        public float StatureM;
        /// <summary>x, y, z of each joint in the world.</summary>
        public readonly float[] PositionsM = new float[3 * Joints];
        /// <summary>x, y, z, w of each joint: the world from the bone.</summary>
        public readonly float[] RotationsXyzw = new float[4 * Joints];
        public string Reason = "";
    }

    /// <summary>One surface; arrays are as long as the largest surface of the writer.</summary>
    public sealed class Surface
    {
        public ulong Number;
        /// <summary>Another number whenever faces or the order of vertices changed.</summary>
        public ulong Topology;
        public Status Status;
        public bool IsInCamera, HasNormals, HasColours;
        public int VertexCount, FaceCount;
        public float[] VerticesM = new float[0], Normals = new float[0];
        public byte[] Colours = new byte[0];
        public int[] Faces = new int[0];
    }

    /// <summary>The reader. Where nobody publishes, or nobody does any more, reading returns false: open it again.</summary>
    public sealed class BodystreamReader : IDisposable
    {
        const int Abi = 1, HeaderBytes = 1024, SlotBytes = 1280, PoseAt = 64, JointsAt = PoseAt + 40, JointBytes = 48;
        const int ReasonAt = PoseAt + 1096, ReasonBytes = 96, InfoAt = 64, PartsAt = 128, Tries = 100;
        const long DeadAfterNs = 2000000000;

        readonly MemoryMappedFile file;
        readonly MemoryMappedViewAccessor view;
        readonly long session, poseOffset, poseSlots, surfaceOffset, surfaceStride, surfaceSlots, vertices, faces;
        readonly float[] joint = new float[JointBytes / 4];

        /// <summary>Whether the writer publishes poses; else it publishes surfaces only.</summary>
        public bool OffersPoses { get; private set; }
        public bool OffersSurfaces { get { return surfaceSlots > 0; } }

        /// <summary>The reader of a name, or null where nobody publishes under it now.</summary>
        /// <exception cref="InvalidDataException">The writer is of another version, or the memory is no bodystream's.</exception>
        public static BodystreamReader TryOpen(string name)
        {
            foreach (char c in name)
                if (!(c < 128 && (char.IsLetterOrDigit(c) || c == '-' || c == '_')))
                    throw new ArgumentException("a name has letters, digits, - or _", "name");
            try
            {
                bool windows = Path.DirectorySeparatorChar == '\\';
                MemoryMappedFile file = windows
                    ? MemoryMappedFile.OpenExisting("Local\\bodystream." + name, MemoryMappedFileRights.Read)
                    : MemoryMappedFile.CreateFromFile(
                        new FileStream("/dev/shm/bodystream." + name, FileMode.Open, FileAccess.Read, FileShare.ReadWrite),
                        null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, false);
                BodystreamReader reader = new BodystreamReader(file);
                if (reader.IsAlive) return reader;
                reader.Dispose();
                return null;
            }
            catch (FileNotFoundException) { return null; }
            catch (DirectoryNotFoundException) { return null; }
        }

        BodystreamReader(MemoryMappedFile file)
        {
            this.file = file;
            view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            byte[] magic = new byte[7];
            bool whole = view.Capacity >= HeaderBytes && view.ReadArray(0, magic, 0, 7) == 7;
            if (!whole || Encoding.ASCII.GetString(magic) != "BODYSHM") Fail("the memory is no bodystream's, or not whole");
            uint abi = view.ReadUInt32(8);
            if (abi != Abi) Fail("bodystream publishes ABI " + abi + " and this program reads ABI " + Abi);
            session = view.ReadInt64(24);
            OffersPoses = (view.ReadUInt32(36) & 1) != 0;
            poseOffset = view.ReadUInt32(40);
            poseSlots = view.ReadUInt32(48);
            surfaceSlots = view.ReadUInt32(52);
            surfaceOffset = view.ReadInt64(56);
            surfaceStride = view.ReadInt64(64);
            vertices = view.ReadUInt32(72);
            faces = view.ReadUInt32(76);
            long parts = PartsAt + 2 * Aligned(12 * vertices) + Aligned(4 * vertices) + Aligned(12 * faces);
            bool fits = view.ReadUInt32(12) == HeaderBytes && view.ReadUInt32(44) == SlotBytes && poseSlots >= 1
                && poseSlots <= 2048 && poseOffset + poseSlots * SlotBytes <= view.Capacity && surfaceSlots <= 2048
                && (surfaceSlots == 0 || (surfaceStride == parts && surfaceOffset >= HeaderBytes
                    && surfaceOffset <= view.Capacity && surfaceSlots <= (view.Capacity - surfaceOffset) / parts));
            if (!fits) Fail("the memory is damaged");
        }

        /// <summary>The clock of all times: the age of a pose is NowNs - pose.SampleNs.</summary>
        public static long NowNs { get { return (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency)); } }

        /// <summary>Whether the writer still publishes.</summary>
        public bool IsAlive
        {
            get
            {
                return Load(24) == session && Load(712) == 0 && NowNs - Load(704) < DeadAfterNs;
            }
        }

        /// <summary>The newest pose into `pose`; false where there is none yet, or the writer is gone (IsAlive).</summary>
        public bool Read(Pose pose)
        {
            for (int attempt = 0; attempt < Tries && OffersPoses && IsAlive; attempt++)
            {
                long number = Load(768);
                if (number == 0) return false;
                long slot = poseOffset + (number - 1) % poseSlots * SlotBytes;
                if (Load(slot) != 2 * number) continue;
                pose.Number = view.ReadUInt64(slot + PoseAt);
                pose.SampleNs = view.ReadInt64(slot + PoseAt + 8);
                pose.Status = (Status)view.ReadUInt32(slot + PoseAt + 24);
                pose.Flags = view.ReadUInt32(slot + PoseAt + 28);
                pose.StatureM = view.ReadSingle(slot + PoseAt + 32);
                for (int k = 0; k < Pose.Joints; k++)
                {
                    view.ReadArray(slot + JointsAt + k * JointBytes, joint, 0, joint.Length);
                    Array.Copy(joint, 0, pose.PositionsM, 3 * k, 3);
                    Array.Copy(joint, 3, pose.RotationsXyzw, 4 * k, 4);
                }
                byte[] reason = new byte[ReasonBytes];
                if (pose.Status != Status.Tracked) view.ReadArray(slot + ReasonAt, reason, 0, ReasonBytes);
                if (Load(slot) != 2 * number) continue;
                int end = Array.IndexOf(reason, (byte)0);
                pose.Reason = Encoding.UTF8.GetString(reason, 0, end < 0 ? ReasonBytes : end);
                return true;
            }
            return false;
        }

        /// <summary>The newest surface into `surface`; false where there is none yet, or the writer is gone.</summary>
        public bool Read(Surface surface)
        {
            for (int attempt = 0; attempt < Tries && OffersSurfaces && IsAlive; attempt++)
            {
                long number = Load(832);
                if (number == 0) return false;
                long slot = surfaceOffset + (number - 1) % surfaceSlots * surfaceStride;
                if (Load(slot) != 2 * number) continue;
                uint flags = view.ReadUInt32(slot + InfoAt + 36);
                long vertexCount = view.ReadUInt32(slot + InfoAt + 40), faceCount = view.ReadUInt32(slot + InfoAt + 44);
                if (vertexCount > vertices || faceCount > faces) continue;
                if (surface.VerticesM.Length < 3 * vertices)
                {
                    surface.VerticesM = new float[3 * vertices];
                    surface.Normals = new float[3 * vertices];
                    surface.Colours = new byte[4 * vertices];
                    surface.Faces = new int[3 * faces];
                }
                surface.Number = view.ReadUInt64(slot + InfoAt);
                surface.Topology = view.ReadUInt64(slot + InfoAt + 24);
                surface.Status = (Status)view.ReadUInt32(slot + InfoAt + 32);
                surface.HasNormals = (flags & 1) != 0;
                surface.HasColours = (flags & 2) != 0;
                surface.IsInCamera = (flags & 4) != 0;
                surface.VertexCount = (int)vertexCount;
                surface.FaceCount = (int)faceCount;
                long at = slot + PartsAt;
                view.ReadArray(at, surface.VerticesM, 0, (int)(3 * vertexCount));
                at += Aligned(12 * vertices);
                view.ReadArray(at, surface.Normals, 0, (int)(3 * vertexCount));
                at += Aligned(12 * vertices);
                view.ReadArray(at, surface.Colours, 0, (int)(4 * vertexCount));
                at += Aligned(4 * vertices);
                view.ReadArray(at, surface.Faces, 0, (int)(3 * faceCount));
                if (Load(slot) == 2 * number) return true;
            }
            return false;
        }

        public void Dispose()
        {
            view.Dispose();
            file.Dispose();
        }

        static long Aligned(long bytes) { return (bytes + 63) / 64 * 64; }

        /// <summary>Eight bytes, read after all that was read before and before all that is read later.</summary>
        long Load(long at)
        {
            Thread.MemoryBarrier();
            long value = view.ReadInt64(at);
            Thread.MemoryBarrier();
            return value;
        }

        void Fail(string message)
        {
            Dispose();
            throw new InvalidDataException(message);
        }
    }
}
