// A whole mesh of each frame, of an avatar or surface that has no skin.
import { BufferAttribute, BufferGeometry, Mesh, MeshStandardMaterial } from "three";
import { linearColours } from "./skin.ts";
import type { WholeMesh } from "../stream/meshes.ts";

export class WholeView {
  readonly mesh = new Mesh(new BufferGeometry(), new MeshStandardMaterial({ color: 0xc9b9ab, roughness: 0.75 }));

  constructor() {
    this.mesh.frustumCulled = false;
    this.mesh.castShadow = this.mesh.receiveShadow = true;
    this.mesh.visible = false;
  }

  show({ vertices, faces, normals, colours }: WholeMesh): void {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(vertices, 3));
    geometry.setIndex(new BufferAttribute(faces, 1));
    if (normals) geometry.setAttribute("normal", new BufferAttribute(normals, 3));
    else geometry.computeVertexNormals();
    if (colours) geometry.setAttribute("color", new BufferAttribute(linearColours(colours), 3, true));
    const { material } = this.mesh;
    if (material.vertexColors !== (colours !== null)) {
      material.vertexColors = colours !== null;
      material.color.setHex(colours ? 0xffffff : 0xc9b9ab);
      material.needsUpdate = true;
    }
    this.mesh.geometry.dispose();
    this.mesh.geometry = geometry;
    this.mesh.visible = true;
  }
}
