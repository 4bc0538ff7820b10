/** What a run has measured, for its end. */
const notes: string[] = [];

/** Adds a line. */
export function note(line: string): void {
  notes.push(line);
}

/** All lines, in the order in which they came. */
export function allNotes(): readonly string[] {
  return notes;
}
