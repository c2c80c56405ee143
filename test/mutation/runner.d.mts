/** What a vector asks of the reference. */
export interface Question {
  readonly name: string;
  /** @throws where the answer is wrong */
  readonly ask: () => void;
}
