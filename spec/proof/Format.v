(* FORMAT.md, sections 6.1 to 6.3, as definitions; what is in quotation marks, or stands as a formula in a comment, is
   that document's. Step.v and Tile.v prove that what an encoder writes, a decoder reads. A reader has to trust this
   file and the statements there that begin with Theorem; Rocq checks the rest.

   Numbers are integers of any size (Z), so that nothing wraps unnoticed; symbols, rows i, columns j, lanes l and steps
   k are natural numbers (nat). *)

From Coq Require Import ZArith List.
Import ListNotations.
Open Scope Z_scope.

Notation "x & y" := (Z.land x y) (at level 40, left associativity).
Notation "x << n" := (Z.shiftl x n) (at level 40, left associativity).
Notation "x >> n" := (Z.shiftr x n) (at level 40, left associativity).
Notation "x 'bitor' y" := (Z.lor x y) (at level 45, left associativity).

(** * Section 6.1: tables *)

(* A table is the list of the frequencies of symbols 0, 1, 2, ... *)
Definition table := list Z.

Definition sum (t : table) : Z := fold_right Z.add 0 t.

(* "A table gives each symbol a frequency, 0 to 2^N - 1; they add up to 2^N." *)
Definition is_table (N : Z) (t : table) : Prop := Forall (fun f => 0 <= f <= 2 ^ N - 1) t /\ sum t = 2 ^ N.

Definition frequency (t : table) (symbol : nat) : Z := nth symbol t 0.

(* "The cumulative frequency of a symbol is the sum of the frequencies of lower symbols." *)
Definition cumulative (t : table) (symbol : nat) : Z := sum (firstn symbol t).

(* "Slots 0 to 2^N - 1 are shared out in the order of symbols." The symbol that has the slot: *)
Fixpoint symbol_of (t : table) (slot : Z) : nat :=
  match t with
  | [] => 0%nat
  | f :: rest => if slot <? f then 0%nat else S (symbol_of rest (slot - f))
  end.

(** * Section 6.2: a step *)

(* "a 32-bit state x, in [2^16, 2^32)"; "unit: 16 bits". *)
Definition is_state (x : Z) : Prop := 2 ^ 16 <= x < 2 ^ 32.
Definition is_unit (u : Z) : Prop := 0 <= u < 2 ^ 16.

(*  slot   = x & (2^N - 1)
    symbol = the one that has the slot
    x      = frequency[symbol] * (x >> N) + slot - cumulative[symbol] *)
Definition decode_symbol (N : Z) (t : table) (x : Z) : nat * Z :=
  let slot := x & (2 ^ N - 1) in
  let symbol := symbol_of t slot in
  (symbol, frequency t symbol * (x >> N) + slot - cumulative t symbol).

(*  if x < 2^16: x = x << 16 | the next unit
    The rest of the units is what is left; without a next unit there is no result. *)
Definition refill (x : Z) (units : list Z) : option (Z * list Z) :=
  if x <? 2 ^ 16 then
    match units with
    | [] => None
    | unit :: rest => Some ((x << 16) bitor unit, rest)
    end
  else Some (x, units).

(* An encoder's step, spec/encoder/rans.ts: a unit is given away before a symbol is encoded, one at most.

    if x >= frequency[symbol] * 2^(32 - N): give x & 0xffff; x = x >> 16 *)
Definition give (N : Z) (t : table) (symbol : nat) (x : Z) : Z * list Z :=
  if frequency t symbol * 2 ^ (32 - N) <=? x then (x >> 16, [x & 65535]) else (x, []).

(*  x = x / frequency[symbol] * 2^N + x % frequency[symbol] + cumulative[symbol] *)
Definition encode_symbol (N : Z) (t : table) (symbol : nat) (x : Z) : Z :=
  x / frequency t symbol * 2 ^ N + x mod frequency t symbol + cumulative t symbol.

(** * Section 6.2: lanes that share units *)

Fixpoint set (lane : nat) (x : Z) (states : list Z) : list Z :=
  match states, lane with
  | [], _ => []
  | _ :: rest, O => x :: rest
  | y :: rest, S l => y :: set l x rest
  end.

(* "Symbols are decoded in this order": the list says lane and table of each symbol. The result is symbols, the states
   in which lanes end, and the units left. *)
Fixpoint decode (N : Z) (order : list (nat * table)) (states units : list Z) : option (list nat * list Z * list Z) :=
  match order with
  | [] => Some ([], states, units)
  | (lane, t) :: later =>
      let (symbol, x) := decode_symbol N t (nth lane states 0) in
      match refill x units with
      | None => None
      | Some (y, units) =>
          match decode N later (set lane y states) units with
          | None => None
          | Some (symbols, finals, unread) => Some (symbol :: symbols, finals, unread)
          end
      end
  end.

(* An encoder runs backwards: what comes later is encoded first, and its units stand behind. The result is the states
   with which a decoder begins, and the units in the order in which it takes them. *)
Fixpoint encode (N : Z) (order : list (nat * table)) (symbols : list nat) (finals : list Z) : list Z * list Z :=
  match order, symbols with
  | (lane, t) :: later, symbol :: others =>
      let (states, units) := encode N later others finals in
      let (x, given) := give N t symbol (nth lane states 0) in
      (set lane (encode_symbol N t symbol x) states, given ++ units)
  | _, _ => (finals, [])
  end.

(* What can be coded with so many lanes: each place has a lane that there is and a table. *)
Definition is_order (N : Z) (lanes : nat) (order : list (nat * table)) : Prop :=
  Forall (fun '(lane, t) => (lane < lanes)%nat /\ is_table N t) order.

(* Symbols that have slots in the tables of their places. *)
Definition have_slots (order : list (nat * table)) (symbols : list nat) : Prop :=
  Forall2 (fun '(_, t) symbol => 0 < frequency t symbol) order symbols.

(** * Sections 6.2 and 6.3: the places of a tile *)

Definition ceil (a b : nat) : nat := ((a + b - 1) / b)%nat.

(* How a tile of a width is shared out: so many lanes, k below so many steps, the columns of one row that have a symbol,
   and which of them lane l has at k. *)
Record sharing := { lanes : nat; steps : nat; columns : nat; column : nat -> nat -> nat }.

(* "column 32 (k / 4) + 4l + k % 4" *)
Definition own_column (l k : nat) : nat := (32 * (k / 4) + 4 * l + k mod 4)%nat.

(* "Each lane l of a tile, 0 <= l < ceil(width / 4), owns columns 4l to 4l + 3"; "in each row k = 0 to 3" *)
Definition rans (width : nat) := {| lanes := ceil width 4; steps := 4; columns := width; column := own_column |}.

(* "With flag 32 there are at most 8 lanes, which own the same columns of every 32 of the tile"; "0 to 15 with
   flag 32" *)
Definition rans_base (width : nat) :=
  {| lanes := min 8 (ceil width 4); steps := 16; columns := width; column := own_column |}.

(* PAIRS: a symbol stands "for the columns 2q and 2q + 1", and here for column q. "With k = 0 and 1: at step k, lane l
   decodes the columns 4l + 2k and 4l + 2k + 1, if the first of them exists." *)
Definition pairs (width : nat) :=
  {| lanes := ceil width 4; steps := 2; columns := ceil width 2; column := fun l k => (2 * l + k)%nat |}.

(* "for each k all lanes l in order whose column exists": lane, and place as row i and column *)
Definition places_of_step (s : sharing) (i k : nat) : list (nat * (nat * nat)) :=
  map (fun l => (l, (i, column s l k))) (filter (fun l => (column s l k <? columns s)%nat) (seq 0 (lanes s))).

(* "rows from the top; in each row k = 0 to 3, or 0 to 15 with flag 32" *)
Definition steps_of_tile (s : sharing) (height : nat) : list (list (nat * (nat * nat))) :=
  flat_map (fun i => map (places_of_step s i) (seq 0 (steps s))) (seq 0 height).

Definition places_of_tile (s : sharing) (height : nat) : list (nat * (nat * nat)) := concat (steps_of_tile s height).

(* Each column of a row belongs to one lane at one k. *)
Definition shares_out (s : sharing) : Prop :=
  (forall j, (j < columns s)%nat -> exists l k, (l < lanes s)%nat /\ (k < steps s)%nat /\ column s l k = j) /\
  (forall l k m n, (l < lanes s)%nat -> (k < steps s)%nat -> (m < lanes s)%nat -> (n < steps s)%nat ->
    column s l k = column s m n -> l = m /\ k = n).

Definition tables_at (choice : nat -> nat -> table) (places : list (nat * (nat * nat))) : list (nat * table) :=
  map (fun '(l, (i, j)) => (l, choice i j)) places.

Definition symbols_at (plane : nat -> nat -> nat) (places : list (nat * (nat * nat))) : list nat :=
  map (fun '(_, (i, j)) => plane i j) places.

(** * Section 6.2: a warp *)

(* "At each k, the lanes that need a unit take one each in lane order: a warp decodes all lanes at once, and one ballot
   says who takes which." Number i of the lanes of a step knows its own state and table, the ballot, and the units. *)
Definition count (ballot : list bool) : nat := length (filter (fun needs => needs) ballot).

Definition warp (N : Z) (step : list (nat * table)) (states units : list Z) : option (list nat * list Z * list Z) :=
  let decoded := map (fun '(lane, t) => decode_symbol N t (nth lane states 0)) step in
  let ballot := map (fun '(_, x) => x <? 2 ^ 16) decoded in
  let after i :=
    let x := snd (nth i decoded (0%nat, 0)) in
    if x <? 2 ^ 16 then (x << 16) bitor nth (count (firstn i ballot)) units 0 else x in
  if (count ballot <=? length units)%nat then
    Some (map fst decoded,
          fold_left (fun states '(lane, x) => set lane x states)
            (combine (map fst step) (map after (seq 0 (length step)))) states,
          skipn (count ballot) units)
  else None.

(* A tile, decoded by a warp: step after step. *)
Fixpoint decode_by_warp (N : Z) (steps : list (list (nat * table))) (states units : list Z) :
  option (list nat * list Z * list Z) :=
  match steps with
  | [] => Some ([], states, units)
  | step :: later =>
      match warp N step states units with
      | None => None
      | Some (symbols, states, units) =>
          match decode_by_warp N later states units with
          | None => None
          | Some (others, finals, unread) => Some (symbols ++ others, finals, unread)
          end
      end
  end.
