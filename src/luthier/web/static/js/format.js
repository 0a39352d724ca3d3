// Numbers, sizes and times as people read them.

const plain = new Intl.NumberFormat("en");

export const count = (value) => (value === null || value === undefined ? "–" : plain.format(value));
export const number = (value, digits = 3) =>
  typeof value !== "number" || !Number.isFinite(value) ? "–"
    : Number.isInteger(value) ? plain.format(value)
      : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
        : value.toExponential(2);
export const percent = (value, digits = 1) =>
  typeof value !== "number" || !Number.isFinite(value) ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;

export function bytes(value) {
  if (typeof value !== "number") return "–";
  let size = value;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (size < 1000) return `${size < 10 && unit !== "B" ? size.toFixed(1) : Math.round(size)}\u00a0${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)}\u00a0TB`;
}

/** 75 as "1 min 15 s". */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 1) return seconds > 0 ? "under 1\u00a0s" : "0\u00a0s";
  if (whole < 60) return `${whole}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min${whole % 60 && minutes < 10 ? ` ${whole % 60}\u00a0s` : ""}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}\u00a0h${minutes % 60 ? ` ${minutes % 60}\u00a0min` : ""}` : `${Math.floor(hours / 24)}\u00a0days`;
}

/** Seconds since 1970 as "5 min ago"; the exact time is for a title. */
export function ago(stamp) {
  if (!stamp) return "–";
  const seconds = Date.now() / 1000 - stamp;
  if (seconds < 10) return "just now";
  if (seconds < 86_400 * 2) return `${duration(seconds < 60 ? seconds : 60 * Math.floor(seconds / 60)).split(" ").slice(0, 1)[0]} ago`;
  return new Date(stamp * 1000).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

export const exact = (stamp) => (stamp ? new Date(stamp * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" }) : "");

/** "1 row", "2 rows". */
export const several = (value, one, many = `${one}s`) => `${count(value)}\u00a0${value === 1 ? one : many}`;

/** The first `length` characters, with an ellipsis where there were more. */
export const short = (text, length = 80) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
