// Statistics, round numbers and colors. Nothing here reads the page.

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}

// A quantile of sorted values, linear between two of them.
function quantile(sorted, share) {
  const place = (sorted.length - 1) * share;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

// What a box plot shows: whiskers end at the farthest values within 1.5 times the height of the box.
function boxOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(sorted, share));
  const reach = 1.5 * (high - low);
  const inside = sorted.filter((value) => value >= low - reach && value <= high + reach);
  return {
    count: sorted.length, mean: mean(sorted), deviation: deviation(sorted), least: sorted[0], low, middle, high,
    most: sorted[sorted.length - 1], from: Math.min(inside[0], low), to: Math.max(inside[inside.length - 1], high),
    outside: sorted.filter((value) => value < low - reach || value > high + reach),
  };
}

// Round numbers from the least to the greatest, at most about as many as wanted.
function ticks(least, greatest, most) {
  const power = 10 ** Math.floor(Math.log10((greatest - least) / most));
  const step = [1, 2, 5, 10, 20].map((factor) => factor * power).find((size) => (greatest - least) / size <= most);
  const found = [];
  for (let n = Math.ceil(least / step - 1e-9); n * step <= greatest + 1e-9 * step; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

// The least and the greatest of any number of values: Math.min takes no hundred thousand.
function extremes(values) {
  let [least, greatest] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  return [least, greatest];
}

// The ends of an axis, with some room on both sides; shares stay between 0 and 1.
function limits(values, share) {
  const [least, greatest] = extremes(values);
  const gap = greatest - least || Math.abs(greatest) / 10 || 0.1;
  const ends = [least - 0.05 * gap, greatest + 0.05 * gap];
  return share ? [Math.max(ends[0], -0.02), Math.min(ends[1], 1.02)] : ends;
}

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

// The color of a share in [0, 1], from dark to light, which readers who see no red or no green can tell apart.
function rampColor(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[below].map((value, index) => Math.round(value + (RAMP[below + 1][index] - value) * (place - below)));
}

const cssColor = (rgb) => `rgb(${rgb.join(",")})`;

// Black or white, whichever is easier to read on a color.
function inkOn(rgb) {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}
