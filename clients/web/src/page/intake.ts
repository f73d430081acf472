/** The ways a picture comes in: chosen, photographed, dropped or pasted. */

/** Calls `take` with each picture. Only the first of several files counts. */
export function listen(take: (file: File) => void): void {
  const one = (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (file) take(file);
  };
  for (const [button, input] of [["choose", "file"], ["photograph", "camera"]] as const) {
    const field = document.querySelector<HTMLInputElement>(`#${input}`)!;
    document.querySelector(`#${button}`)!.addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      one(field.files);
      field.value = ""; // the same file may be chosen again
    });
  }
  let depth = 0; // enter and leave come for every element that is crossed
  const over = (change: number) => document.body.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    one(event.dataTransfer?.files);
  });
  document.addEventListener("paste", (event) => one(event.clipboardData?.files));
}
