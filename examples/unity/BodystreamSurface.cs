// Shows the surface that bodystream publishes as a mesh: of a capture (`--source`) or of a driven body.
// Put it on an object with a MeshFilter and a MeshRenderer; a material that shows vertex colours shows those.
using System.IO;
using UnityEngine;
using UnityEngine.Rendering;

namespace Bodystream
{
    public sealed class BodystreamSurface : MonoBehaviour
    {
        [Tooltip("The name that bodystream publishes under.")]
        public string bodyName = "room";

        readonly Surface surface = new Surface();
        BodystreamReader reader;
        Mesh mesh;
        Vector3[] vertices = new Vector3[0], normals = new Vector3[0];
        Color32[] colours = new Color32[0];
        int[] triangles = new int[0];
        ulong shown, topology;
        float nextLook;
        string told = "";

        void Start()
        {
            mesh = new Mesh { indexFormat = IndexFormat.UInt32, name = "bodystream" };
            mesh.MarkDynamic();
            GetComponent<MeshFilter>().mesh = mesh;
        }

        void LateUpdate()
        {
            if (reader == null && Time.unscaledTime >= nextLook) Look();
            if (reader == null) return;
            if (reader.Read(surface)) Show(surface);
            else if (!reader.IsAlive) Leave();
        }

        void OnDestroy() { Leave(); }

        void Show(Surface given)
        {
            if (given.Number == shown) return;
            shown = given.Number;
            int count = given.VertexCount;
            if (vertices.Length < count)
            {
                vertices = new Vector3[count];
                normals = new Vector3[count];
                colours = new Color32[count];
            }
            for (int k = 0; k < count; k++) // Unity's axes are ours in a mirror
            {
                vertices[k] = new Vector3(given.VerticesM[3 * k], given.VerticesM[3 * k + 1], -given.VerticesM[3 * k + 2]);
                normals[k] = new Vector3(given.Normals[3 * k], given.Normals[3 * k + 1], -given.Normals[3 * k + 2]);
                colours[k] = new Color32(given.Colours[4 * k], given.Colours[4 * k + 1], given.Colours[4 * k + 2], 255);
            }
            bool anew = given.Topology != topology;
            if (anew) mesh.Clear();
            mesh.SetVertices(vertices, 0, count);
            if (given.HasNormals) mesh.SetNormals(normals, 0, count);
            if (given.HasColours) mesh.SetColors(colours, 0, count);
            if (anew)
            {
                int corners = 3 * given.FaceCount;
                if (triangles.Length < corners) triangles = new int[corners];
                for (int k = 0; k < corners; k += 3) // and in a mirror faces turn the other way
                {
                    triangles[k] = given.Faces[k];
                    triangles[k + 1] = given.Faces[k + 2];
                    triangles[k + 2] = given.Faces[k + 1];
                }
                mesh.SetTriangles(triangles, 0, corners, 0);
                topology = given.Topology;
            }
            mesh.RecalculateBounds();
        }

        void Look()
        {
            nextLook = Time.unscaledTime + 0.5f;
            topology = shown = 0;
            try { reader = BodystreamReader.TryOpen(bodyName); }
            catch (InvalidDataException error)
            {
                if (error.Message != told) Debug.LogWarning("bodystream: " + error.Message);
                told = error.Message;
            }
        }

        void Leave()
        {
            if (reader != null) reader.Dispose();
            reader = null;
        }
    }
}
