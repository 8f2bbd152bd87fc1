// Colours of the style sheet, for what is drawn by a script.

/** A colour as it is now. What `light-dark()` chooses is known where a property uses it only. */
export function colour(name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
