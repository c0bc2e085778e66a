// Nodes and edges of a graph, joints and bones of a skeleton: points and lines that move.
import {
  BufferAttribute, BufferGeometry, Color, DynamicDrawUsage, Group, IcosahedronGeometry, InstancedMesh, LineBasicMaterial,
  LineSegments, Matrix4, MeshBasicMaterial,
} from "three";

/** Spheres at points and straight lines between pairs of them, drawn over the surface. */
export class PointsAndLines {
  readonly group = new Group();
  readonly #lines: LineSegments<BufferGeometry, LineBasicMaterial>;
  readonly #dots: InstancedMesh<IcosahedronGeometry, MeshBasicMaterial>;
  readonly #pairs: Uint32Array | Uint16Array;
  readonly #matrix = new Matrix4();

  /**
   * @param count of points
   * @param pairs indices of two points a line
   * @param radius_m of the spheres
   */
  constructor(count: number, pairs: Uint32Array | Uint16Array, radius_m: number) {
    this.#pairs = pairs;
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(3 * pairs.length), 3).setUsage(DynamicDrawUsage));
    this.#lines = new LineSegments(geometry, new LineBasicMaterial({ depthTest: false, transparent: true, opacity: 0.75 }));
    this.#dots = new InstancedMesh(new IcosahedronGeometry(radius_m, 2), new MeshBasicMaterial({ depthTest: false, transparent: true }), count);
    this.#dots.instanceMatrix.setUsage(DynamicDrawUsage);
    this.#lines.frustumCulled = this.#dots.frustumCulled = false;
    this.#lines.renderOrder = 10;
    this.#dots.renderOrder = 11;
    this.group.add(this.#lines, this.#dots);
  }

  setColours(lines: number, dots: number): void {
    this.#lines.material.color = new Color(lines);
    this.#dots.material.color = new Color(dots);
  }

  /** @param positions three numbers a point [m] */
  move(positions: Float32Array): void {
    const attribute = this.#lines.geometry.getAttribute("position") as BufferAttribute;
    const out = attribute.array as Float32Array;
    for (let i = 0; i < this.#pairs.length; i++) {
      const from = 3 * this.#pairs[i];
      out[3 * i] = positions[from];
      out[3 * i + 1] = positions[from + 1];
      out[3 * i + 2] = positions[from + 2];
    }
    attribute.needsUpdate = true;
    for (let i = 0; i < this.#dots.count; i++) {
      this.#matrix.makeTranslation(positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]);
      this.#dots.setMatrixAt(i, this.#matrix);
    }
    this.#dots.instanceMatrix.needsUpdate = true;
  }

  dispose(): void {
    this.group.removeFromParent();
    this.#lines.geometry.dispose();
    this.#lines.material.dispose();
    this.#dots.geometry.dispose();
    this.#dots.material.dispose();
    this.#dots.dispose();
  }
}
