// spec/proof/Cases.v holds what the reference codes, for Rocq to compare with the definitions of which it proves that they
// lose nothing: here the reference is held to the file, by `npm run proof` the definitions are. After a change,
// `npx vitest run test/proof.test.ts -u` writes it anew.

import { expect, test } from 'vitest';
import { generator } from '../golden/patterns.ts';
import { type Table, tableOf } from '../spec/decoder/6.1-tables.ts';
import { decodeLanes, lanesOf, STATE_FLOOR } from '../spec/decoder/6.2-rans.ts';
import { encodeLanes } from '../spec/encoder/rans.ts';
import { SEED } from './seed.ts';

const CASES = 240;

const HEAD = `(* Written by test/proof.test.ts: planes that the reference (spec/) coded. The definitions of Format.v code them alike. *)

From Coq Require Import ZArith List.
From CodecLLM Require Import Format.
Import ListNotations.
Open Scope Z_scope.

(* A tile's plane: classes and symbols row by row, as in the reference. *)
Record case := Case {
  sharing_of : sharing; height : nat; N : Z; tables : list table; classes : list nat; symbols : list nat;
  finals : list Z; states : list Z; units : list Z }.

Definition at_place {A} (nothing : A) (c : case) (values : list A) (i j : nat) : A :=
  nth (i * columns (sharing_of c) + j) values nothing.

Definition choice (c : case) (i j : nat) : table := nth (at_place 0%nat c (classes c) i j) (tables c) [].

Definition symbols_in_order (c : case) : list nat :=
  symbols_at (at_place 0%nat c (symbols c)) (places_of_tile (sharing_of c) (height c)).

Definition coded (c : case) :=
  let steps := map (tables_at (choice c)) (steps_of_tile (sharing_of c) (height c)) in
  (length (finals c), encode (N c) (concat steps) (symbols_in_order c) (finals c),
   decode (N c) (concat steps) (states c) (units c), decode_by_warp (N c) steps (states c) (units c)).

Definition expected (c : case) :=
  let decoded := Some (symbols_in_order c, finals c, @nil Z) in
  (lanes (sharing_of c), (states c, units c), decoded, decoded).

Definition cases : list case := [
`;

const TAIL = `
].

Theorem cases_agree : map coded cases = map expected cases.
Proof. vm_compute. reflexivity. Qed.
`;

const listOf = (values: Iterable<number>): string => `[${[...values].join(';')}]`;

/** A table of up to eight symbols, some of which may have no slot. */
function drawTable(random: () => number, probabilityBits: number): Table {
  const frequency = new Uint16Array(2 + (random() % 7));
  // No symbol has all slots.
  frequency.fill(1, 0, 2);
  let left = 2 ** probabilityBits - 2;
  for (let symbol = 1; symbol < frequency.length; symbol++) {
    const given = random() % 4 === 0 ? 0 : random() % (1 + (left >> (random() % 8)));
    frequency[symbol] += given;
    left -= given;
  }
  frequency[0] += left;
  return tableOf(frequency);
}

/** The lowest state, one with a payload, the lowest for which some symbol gives a unit away, or the one below. */
function drawState(random: () => number, tables: readonly Table[], probabilityBits: number): number {
  const { frequency } = tables[random() % tables.length];
  const threshold = frequency[random() % frequency.length] * 2 ** (32 - probabilityBits);
  const some = [STATE_FLOOR, STATE_FLOOR + (random() & 0xffff), threshold, threshold - 1][random() % 4];
  return Math.max(some, STATE_FLOOR);
}

/** A case of `cases`, coded by the reference. */
function drawCase(random: () => number, index: number): string {
  const kind = (['rans', 'rans_base', 'pairs'] as const)[index % 3];
  const height = 1 + (random() % 4);
  const tileWidth = 1 + (random() % (kind === 'rans_base' ? 72 : 20));
  const columnsEach = kind === 'pairs' ? 2 : 1;
  const width = Math.ceil(tileWidth / columnsEach);
  const probabilityBits = 8 + (random() % 5);
  const tables = Array.from({ length: [1, 2, 4][random() % 3] }, () => drawTable(random, probabilityBits));
  const classes = Uint8Array.from({ length: height * width }, () => random() % tables.length);
  const symbols = Uint16Array.from(classes, (c) => {
    // The rare as often as the frequent, so that units are many.
    const slotted = [...tables[c].frequency.keys()].filter((symbol) => tables[c].frequency[symbol] > 0);
    return slotted[random() % slotted.length];
  });
  const { count, perLane } = lanesOf(tileWidth, kind === 'rans_base', columnsEach);
  const finals = Uint32Array.from({ length: count }, () => drawState(random, tables, probabilityBits));
  const plane = { probabilityBits, tables, width, classes };
  const { states, units } = encodeLanes(symbols, finals, perLane, plane);
  expect(decodeLanes(states, units, perLane, plane)).toEqual({ symbols, finals, used: units.length });
  const lists = [
    ...[classes, symbols].map((naturals) => `${listOf(naturals)}%nat`),
    ...[finals, states, units].map(listOf),
  ];
  const frequencies = tables.map(({ frequency }) => listOf(frequency)).join(';');
  return `  Case (${kind} ${tileWidth}) ${height} ${probabilityBits} [${frequencies}] ${lists.join(' ')}`;
}

test('the reference codes the cases of the proof as they are written', async () => {
  const random = generator(SEED);
  const cases = Array.from({ length: CASES }, (_, index) => drawCase(random, index));
  await expect(`${HEAD}${cases.join(';\n')}${TAIL}`).toMatchFileSnapshot('../spec/proof/Cases.v');
});
