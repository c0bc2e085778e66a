// As much of UnityEngine as the examples use, to build and run them without Unity; and a program that does so:
//     unity NAME poses|surface
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Reflection;

namespace UnityEngine.Rendering { public enum IndexFormat { UInt16, UInt32 } }

namespace UnityEngine
{
    public class TooltipAttribute : Attribute { public TooltipAttribute(string text) { } }
    public static class Time { public static float unscaledTime; }
    public static class Debug { public static void LogWarning(object text) { Console.Error.WriteLine(text); } }
    public struct Color32 { public byte r, g, b, a; public Color32(byte r, byte g, byte b, byte a) { this.r = r; this.g = g; this.b = b; this.a = a; } }

    public struct Vector3
    {
        public float x, y, z;
        public Vector3(float x, float y, float z) { this.x = x; this.y = y; this.z = z; }
        public static Vector3 operator *(Vector3 a, float s) { return new Vector3(a.x * s, a.y * s, a.z * s); }
        public static Vector3 operator +(Vector3 a, Vector3 b) { return new Vector3(a.x + b.x, a.y + b.y, a.z + b.z); }
        public static Vector3 operator -(Vector3 a, Vector3 b) { return new Vector3(a.x - b.x, a.y - b.y, a.z - b.z); }
    }

    public struct Quaternion
    {
        public float x, y, z, w;
        public Quaternion(float x, float y, float z, float w) { this.x = x; this.y = y; this.z = z; this.w = w; }
        public static Quaternion Inverse(Quaternion q) { return new Quaternion(-q.x, -q.y, -q.z, q.w); }
        public static Quaternion operator *(Quaternion a, Quaternion b)
        {
            return new Quaternion(
                a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y, a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
                a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w, a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z);
        }
        public static Vector3 operator *(Quaternion q, Vector3 v)
        {
            Quaternion r = q * new Quaternion(v.x, v.y, v.z, 0f) * Inverse(q);
            return new Vector3(r.x, r.y, r.z);
        }
    }

    public class Transform
    {
        public string name = "";
        public Transform parent;
        public Quaternion localRotation = new Quaternion(0, 0, 0, 1);
        public Vector3 localPosition;
        Quaternion Above { get { return parent == null ? new Quaternion(0, 0, 0, 1) : parent.rotation; } }
        public Quaternion rotation
        {
            get { return Above * localRotation; }
            set { localRotation = Quaternion.Inverse(Above) * value; }
        }
        public Vector3 position
        {
            get { return parent == null ? localPosition : parent.TransformPoint(localPosition); }
            set { localPosition = parent == null ? value : parent.InverseTransformPoint(value); }
        }
        public Vector3 TransformPoint(Vector3 at) { return position + rotation * at; }
        public Vector3 InverseTransformPoint(Vector3 at) { return Quaternion.Inverse(rotation) * (at - position); }
    }

    public class MonoBehaviour
    {
        public Transform transform = new Transform();
        public readonly List<object> components = new List<object>();
        public T GetComponent<T>() where T : class
        {
            foreach (object each in components) if (each is T) return (T)each;
            return null;
        }
    }

    public enum HumanBodyBones
    {
        Hips, LeftUpperLeg, RightUpperLeg, LeftLowerLeg, RightLowerLeg, LeftFoot, RightFoot, Spine, Chest, Neck, Head,
        LeftShoulder, RightShoulder, LeftUpperArm, RightUpperArm, LeftLowerArm, RightLowerArm, LeftHand, RightHand,
        LeftToes, RightToes, UpperChest = 54,
    }
    public struct SkeletonBone { public string name; public Quaternion rotation; }
    public struct HumanDescription { public SkeletonBone[] skeleton; }
    public class Avatar { public HumanDescription humanDescription; }
    public class Animator
    {
        public Avatar avatar = new Avatar();
        public readonly Dictionary<HumanBodyBones, Transform> bones = new Dictionary<HumanBodyBones, Transform>();
        public Transform GetBoneTransform(HumanBodyBones bone) { Transform t; return bones.TryGetValue(bone, out t) ? t : null; }
        public T[] GetComponentsInChildren<T>() where T : class
        {
            List<T> all = new List<T>();
            foreach (Transform each in bones.Values) all.Add((T)(object)each);
            return all.ToArray();
        }
    }

    public class MeshFilter { public Mesh mesh; }
    public class Mesh
    {
        public string name;
        public Rendering.IndexFormat indexFormat;
        public Vector3[] vertices, normals;
        public Color32[] colours;
        public int[] triangles;
        public void MarkDynamic() { }
        public void Clear() { triangles = null; }
        public void RecalculateBounds() { }
        public void SetVertices(Vector3[] v, int start, int length) { vertices = Part(v, start, length); }
        public void SetNormals(Vector3[] v, int start, int length) { normals = Part(v, start, length); }
        public void SetColors(Color32[] v, int start, int length) { colours = Part(v, start, length); }
        public void SetTriangles(int[] v, int start, int length, int submesh) { triangles = Part(v, start, length); }
        static T[] Part<T>(T[] all, int start, int length) { T[] part = new T[length]; Array.Copy(all, start, part, 0, length); return part; }
    }
}

static class Program
{
    static void Call(object of, string method)
    {
        of.GetType().GetMethod(method, BindingFlags.Instance | BindingFlags.NonPublic).Invoke(of, null);
    }

    static void Print(params float[] numbers)
    {
        Console.WriteLine(string.Join(" ", Array.ConvertAll(numbers, n => n.ToString("R", CultureInfo.InvariantCulture))));
    }

    static int Main(string[] words)
    {
        return words[1] == "poses" ? Poses(words[0]) : Surface(words[0]);
    }

    // An avatar that stands turned and away from the origin, whose bones are turned in its T-pose, one bone missing.
    static int Poses(string name)
    {
        Bodystream.BodystreamBody body = new Bodystream.BodystreamBody { bodyName = name };
        body.transform.localPosition = new UnityEngine.Vector3(1f, 2f, 3f);
        body.transform.localRotation = new UnityEngine.Quaternion(0f, 0.6f, 0f, 0.8f);
        UnityEngine.Animator animator = new UnityEngine.Animator();
        List<UnityEngine.SkeletonBone> skeleton = new List<UnityEngine.SkeletonBone>();
        for (int joint = 0; joint < 22; joint++)
        {
            if (joint == 9) continue; // an avatar without UpperChest
            float half = 0.05f * joint;
            UnityEngine.Transform bone = new UnityEngine.Transform { name = "bone" + joint, parent = body.transform };
            bone.localPosition = new UnityEngine.Vector3(0f, joint == 15 ? 0.75f : 0.5f, 0f);
            skeleton.Add(new UnityEngine.SkeletonBone
            {
                name = bone.name, rotation = new UnityEngine.Quaternion((float)Math.Sin(half), 0f, 0f, (float)Math.Cos(half)),
            });
            animator.bones[Bodystream.BodystreamBody.Bones[joint]] = bone;
        }
        animator.avatar.humanDescription.skeleton = skeleton.ToArray();
        body.components.Add(animator);
        Call(body, "Start");
        Call(body, "LateUpdate");
        if (!body.HasWriter) return 3;
        Console.WriteLine(body.Status + " " + (body.AgeMs >= 0f));
        for (int joint = 0; joint < 22; joint++)
        {
            UnityEngine.Transform bone = animator.GetBoneTransform(Bodystream.BodystreamBody.Bones[joint]);
            if (bone == null) { Console.WriteLine("-"); continue; }
            UnityEngine.Quaternion q = bone.rotation;
            UnityEngine.Vector3 at = bone.position;
            Print(at.x, at.y, at.z, q.x, q.y, q.z, q.w);
        }
        Call(body, "OnDestroy");
        return 0;
    }

    static int Surface(string name)
    {
        Bodystream.BodystreamSurface shown = new Bodystream.BodystreamSurface { bodyName = name };
        UnityEngine.MeshFilter filter = new UnityEngine.MeshFilter();
        shown.components.Add(filter);
        Call(shown, "Start");
        Call(shown, "LateUpdate");
        if (filter.mesh.vertices == null) return 3;
        foreach (UnityEngine.Vector3 v in filter.mesh.vertices) Print(v.x, v.y, v.z);
        foreach (UnityEngine.Vector3 v in filter.mesh.normals) Print(v.x, v.y, v.z);
        foreach (UnityEngine.Color32 c in filter.mesh.colours) Print(c.r, c.g, c.b);
        for (int k = 0; k < filter.mesh.triangles.Length; k += 3)
            Print(filter.mesh.triangles[k], filter.mesh.triangles[k + 1], filter.mesh.triangles[k + 2]);
        Call(shown, "OnDestroy");
        return 0;
    }
}
