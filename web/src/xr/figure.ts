// Pictures of the poses to stand in, drawn from a few joints, as one sees oneself in a mirror: what is right is right.

export type Pose = "stand" | "raise" | "T" | "I" | "floor";

type Point = readonly [x: number, y: number];

interface Limbs {
  readonly left: readonly [elbow: Point, hand: Point];
  readonly right: readonly [elbow: Point, hand: Point];
}

// In heads of a person who is eight of them high; x to the right of the picture, y down from the top of the head.
const SHOULDER: Point = [0.82, 1.55];
const HIP: Point = [0.42, 3.9];
const KNEE: Point = [0.5, 5.75];
const FOOT: Point = [0.54, 7.65];
const CROUCHED_KNEE: Point = [1.15, 5.9];
const CROUCH = 2.2; // how far the upper body goes down

const DOWN = (side: number): readonly [Point, Point] => [[1.02 * side, 2.8], [1.06 * side, 4.0]];
const ARMS: Record<Pose, Limbs> = {
  stand: { left: DOWN(-1), right: DOWN(1) },
  I: { left: DOWN(-1), right: DOWN(1) },
  T: { left: [[-2.0, 1.6], [-3.2, 1.6]], right: [[2.0, 1.6], [3.2, 1.6]] },
  raise: { left: DOWN(-1), right: [[1.35, 0.55], [1.1, -0.75]] },
  floor: { left: [[-1.3, 2.7], [-1.15, 3.6]], right: [[1.75, 3.2], [2.1, 5.45]] },
};

export interface Colours {
  readonly body: string;
  readonly accent: string;
}

/** Draw into a square of a canvas. What moves or matters is in the accent's colour. */
export function drawFigure(context: CanvasRenderingContext2D, pose: Pose, x: number, y: number, size: number, colours: Colours): void {
  const unit = size / 9.8;
  const at = ([px, py]: Point): [number, number] => [x + size / 2 + px * unit, y + (py + 1.35) * unit];
  const stroke = (points: readonly Point[], width: number, colour: string): void => {
    context.strokeStyle = colour;
    context.lineWidth = width * unit;
    context.beginPath();
    for (const point of points) context.lineTo(...at(point));
    context.stroke();
  };
  context.save();
  context.lineCap = context.lineJoin = "round";
  for (const side of [-1, 1]) {
    const mirrored = ([px, py]: Point): Point => [px * side, py];
    stroke((pose === "floor" ? [[HIP[0], HIP[1] + CROUCH] as const, CROUCHED_KNEE, FOOT] : [HIP, KNEE, FOOT]).map(mirrored), 0.62, colours.body);
    stroke([mirrored(FOOT), [0.74 * side, 7.78]], 0.42, colours.body);
  }
  if (pose === "floor") context.translate(0, CROUCH * unit);
  // Trunk: a filled outline with round corners.
  context.fillStyle = context.strokeStyle = colours.body;
  context.lineWidth = 0.5 * unit;
  context.beginPath();
  for (const point of [[-0.72, 1.62], [0.72, 1.62], [0.46, 3.0], [0.55, 4.1], [-0.55, 4.1], [-0.46, 3.0]] as const) context.lineTo(...at(point));
  context.closePath();
  context.fill();
  context.stroke();
  const { left, right } = ARMS[pose];
  const both = pose === "T" || pose === "I";
  stroke([[-SHOULDER[0], SHOULDER[1]], ...left], 0.46, both ? colours.accent : colours.body);
  stroke([SHOULDER, ...right], 0.46, both || pose === "raise" || pose === "floor" ? colours.accent : colours.body);
  context.fillStyle = pose === "stand" ? colours.accent : colours.body;
  context.beginPath();
  context.ellipse(...at([0, 0.5]), 0.44 * unit, 0.54 * unit, 0, 0, 2 * Math.PI);
  context.fill();
  context.restore();
}
