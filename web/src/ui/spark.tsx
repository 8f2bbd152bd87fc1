// A small line of what was, without axes: the number beside it says what is.

interface SparkProps {
  values: readonly number[];
  /** What the upper edge stands for. */
  most: number;
}

const WIDTH = 100;
const HEIGHT = 24;

/** The points of the line: the last value at the right edge. */
export function points(values: readonly number[], most: number): string {
  const step = WIDTH / Math.max(1, values.length - 1);
  return values
    .map((value, index) => {
      const y = HEIGHT - 1 - (Math.min(value, most) / most) * (HEIGHT - 2);
      return `${(index * step).toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

export const Spark = ({ values, most }: SparkProps) => (
  <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" data-volatile>
    {values.length > 1 ? <polyline points={points(values, most)} /> : null}
  </svg>
);
