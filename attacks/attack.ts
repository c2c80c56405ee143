// What all attacks are given: an empty directory, and the product as it is built.

export type Product = typeof import('../src/index.ts');

/** @throws Error where something else happens than must */
export type Attack = (directory: string, product: Product) => Promise<void>;

/** Whether there is what a script attacks; where it does not say, there is. */
export type IsPossible = (product: Product) => boolean;
