(* FORMAT.md, sections 6.1 to 6.3, as definitions, and the proof that what an encoder writes of a coded plane is what a
   decoder reads. A reader has to trust the definitions and the statements that begin with Theorem; the rest is checked
   by Rocq. What is a number in FORMAT.md is an integer of any size (Z) here, so nothing overflows unnoticed; symbols,
   rows, columns, lanes and steps k are natural numbers (nat). *)

From Coq Require Import ZArith List Lia Bool PeanoNat ZifyNat.
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

(* "Symbols are decoded in this order": the list says lane and table of each symbol. The result is symbols, the states in
   which lanes end, and the units left. *)
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

(** * Lemmas *)

Lemma sum_app : forall a b, sum (a ++ b) = sum a + sum b.
Proof. induction a; intros; simpl in *; rewrite ?IHa; lia. Qed.

Lemma sum_nonnegative : forall t, Forall (fun f => 0 <= f) t -> 0 <= sum t.
Proof. induction 1; simpl; lia. Qed.

Lemma table_nonnegative : forall N t, is_table N t -> Forall (fun f => 0 <= f) t.
Proof. intros N t [H _]. eapply Forall_impl; [|exact H]. simpl; lia. Qed.

Lemma firstn_nonnegative : forall t n, Forall (fun f => 0 <= f) t -> Forall (fun f => 0 <= f) (firstn n t).
Proof. intros t n H. revert n. induction H; intros [|n]; simpl; auto. Qed.

Lemma skipn_nonnegative : forall t n, Forall (fun f => 0 <= f) t -> Forall (fun f => 0 <= f) (skipn n t).
Proof. intros t n H. revert n. induction H; intros [|n]; simpl; auto. Qed.

Lemma frequency_skipn : forall t s, sum (skipn s t) = frequency t s + sum (skipn (S s) t).
Proof.
  unfold frequency. induction t as [|f t IH]; intros [|s]; try reflexivity.
  change (skipn (S s) (f :: t)) with (skipn s t).
  change (skipn (S (S s)) (f :: t)) with (skipn (S s) t). apply IH.
Qed.

Lemma slots_inside : forall N t s, is_table N t ->
  0 <= frequency t s /\ 0 <= cumulative t s /\ cumulative t s + frequency t s <= 2 ^ N.
Proof.
  intros N t s H. pose proof (table_nonnegative _ _ H) as P. destruct H as [_ H].
  rewrite <- (firstn_skipn s t), sum_app, frequency_skipn in H. fold (cumulative t s) in H.
  pose proof (sum_nonnegative _ (firstn_nonnegative t s P)).
  pose proof (sum_nonnegative _ (skipn_nonnegative t (S s) P)).
  assert (0 <= frequency t s) by
    (unfold frequency; destruct (nth_in_or_default s t 0) as [I|E]; [rewrite Forall_forall in P; auto | lia]).
  unfold cumulative in *. lia.
Qed.

Lemma cumulative_cons : forall f t s, cumulative (f :: t) (S s) = f + cumulative t s.
Proof. reflexivity. Qed.

(* A slot has one symbol: the one whose slots it is among. *)
Lemma symbol_of_slot : forall t s slot, Forall (fun f => 0 <= f) t ->
  cumulative t s <= slot < cumulative t s + frequency t s -> symbol_of t slot = s.
Proof.
  induction t as [|f t IH]; intros s slot P H.
  - unfold frequency, cumulative in H. destruct s; simpl in H; lia.
  - inversion P; subst. destruct s as [|s]; simpl symbol_of.
    + unfold cumulative, frequency in H; simpl in H. destruct (Z.ltb_spec slot f); [reflexivity | lia].
    + rewrite cumulative_cons in H. change (frequency (f :: t) (S s)) with (frequency t s) in H.
      assert (0 <= cumulative t s) by (apply sum_nonnegative, firstn_nonnegative; assumption).
      destruct (Z.ltb_spec slot f); [lia | f_equal; apply IH; [assumption | lia]].
Qed.

(* Each slot has a symbol. *)
Lemma slot_of_symbol : forall t slot, Forall (fun f => 0 <= f) t -> 0 <= slot < sum t ->
  cumulative t (symbol_of t slot) <= slot < cumulative t (symbol_of t slot) + frequency t (symbol_of t slot).
Proof.
  induction t as [|f t IH]; intros slot P H; simpl in H; [lia|].
  inversion P; subst. simpl symbol_of. destruct (Z.ltb_spec slot f).
  - unfold cumulative, frequency; simpl; lia.
  - rewrite cumulative_cons. change (frequency (f :: t) (S ?s)) with (frequency t s).
    specialize (IH (slot - f)). lapply IH; [|assumption]. lia.
Qed.

Lemma low_bits : forall x n, 0 <= n -> x & (2 ^ n - 1) = x mod 2 ^ n.
Proof. intros. rewrite <- Z.land_ones, Z.ones_equiv by lia. f_equal; lia. Qed.

Lemma joined : forall x u, is_unit u -> (x << 16) bitor u = x * 2 ^ 16 + u.
Proof.
  intros x u H. rewrite <- Z.shiftl_mul_pow2 by lia.
  assert (E : (x << 16) & u = 0).
  { apply Z.bits_inj_0. intros n. rewrite Z.land_spec. destruct (Z.ltb_spec n 16).
    - rewrite Z.shiftl_spec_low by lia. reflexivity.
    - replace u with (u mod 2 ^ 16) by (apply Z.mod_small; exact H).
      rewrite Z.mod_pow2_bits_high by lia. apply andb_false_r. }
  rewrite Z.add_nocarry_lxor by exact E. symmetry. apply Z.lxor_lor. exact E.
Qed.

(* `injection`, but that it does not work out powers. *)
Lemma same_pair : forall A B (a c : A) (b d : B), Some (a, b) = Some (c, d) -> a = c /\ b = d.
Proof. intros. split; congruence. Qed.

Lemma quotient : forall q m r, 0 <= r < m -> (q * m + r) / m = q.
Proof. intros. rewrite Z.div_add_l, Z.div_small by lia. lia. Qed.

Lemma remainder : forall q m r, 0 <= r < m -> (q * m + r) mod m = r.
Proof. intros. rewrite Z.add_comm, Z.mod_add, Z.mod_small by lia. reflexivity. Qed.

(* 2^32, 2^16 and 2^(32 - N) in terms of 2^N and 2^(16 - N), so that no power is left but these. *)
Lemma powers : forall N, 0 <= N <= 16 ->
  0 < 2 ^ N /\ 0 < 2 ^ (16 - N) /\ 2 ^ N * 2 ^ (16 - N) = 2 ^ 16 /\ 2 ^ (32 - N) = 2 ^ (16 - N) * 2 ^ 16.
Proof. intros. rewrite <- !Z.pow_add_r by lia. repeat split; try apply Z.pow_pos_nonneg; try lia; f_equal; lia. Qed.

Lemma decoded_value : forall N t x, 0 <= N -> snd (decode_symbol N t x) =
  let s := symbol_of t (x mod 2 ^ N) in frequency t s * (x / 2 ^ N) + x mod 2 ^ N - cumulative t s.
Proof. intros. unfold decode_symbol. rewrite low_bits, Z.shiftr_div_pow2 by lia. reflexivity. Qed.

Lemma decoded_symbol : forall N t x, 0 <= N -> fst (decode_symbol N t x) = symbol_of t (x mod 2 ^ N).
Proof. intros. unfold decode_symbol. rewrite low_bits by lia. reflexivity. Qed.

(** * A step *)

(* N is 8 to 12 in FORMAT.md; that it is at most 16 is enough. *)

(* What is decoded of a state, before a unit is taken: it is positive and fits 32 bits. *)
Lemma decoded_range : forall N t x, 0 <= N <= 16 -> is_table N t -> is_state x ->
  let (s, y) := decode_symbol N t x in
  0 < frequency t s /\ frequency t s * 2 ^ (16 - N) <= y < frequency t s * 2 ^ (32 - N) /\ y < 2 ^ 32.
Proof.
  intros N t x HN Ht Hx. pose proof (decoded_value N t x) as V. pose proof (decoded_symbol N t x) as S.
  destruct (decode_symbol N t x) as [s y]. simpl in V, S. rewrite <- S in V by lia. rewrite V by lia. clear V.
  destruct (powers N HN) as (P1 & P2 & P3 & P4).
  pose proof (Z.mod_pos_bound x (2 ^ N) P1) as M. pose proof (Z.div_mod x (2 ^ N)) as D.
  pose proof (slot_of_symbol t (x mod 2 ^ N) (table_nonnegative _ _ Ht)) as L.
  rewrite <- S in L by lia. destruct (slots_inside N t s Ht) as (F1 & F2 & F3). destruct Ht as [_ Ht].
  rewrite Ht in L. unfold is_state in Hx. change (2 ^ 32) with (2 ^ 16 * 2 ^ 16) in *. rewrite P4.
  remember (x / 2 ^ N) as q. remember (x mod 2 ^ N) as r. remember (frequency t s) as f. remember (2 ^ N) as M'.
  remember (2 ^ (16 - N)) as K. remember (2 ^ 16) as B.
  assert (K <= q < K * B) by nia. assert (f <= M') by lia.
  split; [lia|]. split; [nia|]. nia.
Qed.

(* States of a decoder stay in [2^16, 2^32), whatever the stream holds. *)
Theorem decoder_state : forall N t x units y unread, 0 <= N <= 16 -> is_table N t -> is_state x -> Forall is_unit units ->
  refill (snd (decode_symbol N t x)) units = Some (y, unread) -> is_state y.
Proof.
  intros N t x units y left HN Ht Hx Hu. pose proof (decoded_range N t x HN Ht Hx) as R.
  destruct (decode_symbol N t x) as [s z]; simpl. destruct (powers N HN) as (P1 & P2 & P3 & P4).
  unfold refill, is_state in *. destruct (Z.ltb_spec z (2 ^ 16)).
  - destruct units as [|u units]; [discriminate|]. inversion Hu; subst. rewrite joined by assumption. intros [<- <-]%same_pair.
    unfold is_unit in *. change (2 ^ 32) with (2 ^ 16 * 2 ^ 16). nia.
  - intros [<- <-]%same_pair. lia.
Qed.

(* States of an encoder stay in [2^16, 2^32), what it gives away is a unit, and nothing on the way needs more than 32
   bits. *)
Theorem encoder_state : forall N t s x, 0 <= N <= 16 -> is_table N t -> 0 < frequency t s -> is_state x ->
  let (y, given) := give N t s x in
  is_state (encode_symbol N t s y) /\ Forall is_unit given /\ frequency t s * 2 ^ (32 - N) < 2 ^ 32.
Proof.
  intros N t s x HN Ht Hs Hx. unfold give. destruct (powers N HN) as (P1 & P2 & P3 & P4).
  destruct (slots_inside N t s Ht) as (F1 & F2 & F3).
  assert (F4 : frequency t s <= 2 ^ N - 1).
  { destruct Ht as [Ht _]. unfold frequency in *. destruct (nth_in_or_default s t 0) as [I|E]; [|lia].
    rewrite Forall_forall in Ht. apply Ht in I. lia. }
  assert (Q : forall y, frequency t s * 2 ^ (16 - N) <= y < frequency t s * 2 ^ (32 - N) -> is_state (encode_symbol N t s y)).
  { intros y Hy. unfold is_state, encode_symbol. pose proof (Z.mod_pos_bound y (frequency t s) Hs).
    assert (2 ^ (16 - N) <= y / frequency t s) by (apply Z.div_le_lower_bound; lia).
    assert (y / frequency t s < 2 ^ (32 - N)) by (apply Z.div_lt_upper_bound; lia).
    change (2 ^ 32) with (2 ^ 16 * 2 ^ 16). nia. }
  assert (W : frequency t s * 2 ^ (32 - N) < 2 ^ 32) by (change (2 ^ 32) with (2 ^ 16 * 2 ^ 16); nia).
  unfold is_state in Hx. change 65535 with (2 ^ 16 - 1). rewrite Z.shiftr_div_pow2, low_bits by lia.
  change (2 ^ 32) with (2 ^ 16 * 2 ^ 16) in Hx.
  destruct (Z.leb_spec (frequency t s * 2 ^ (32 - N)) x).
  - split; [|split; [|exact W]].
    + apply Q. split; [apply Z.div_le_lower_bound | apply Z.div_lt_upper_bound]; nia.
    + constructor; [|constructor]. apply Z.mod_pos_bound. lia.
  - split; [|split; [constructor | exact W]]. apply Q. nia.
Qed.

(* A decoder's step undoes an encoder's: it gets the symbol and the state from before, and takes the unit that was given
   away, if one was, and no other. *)
Theorem step_round_trip : forall N t s x units, 0 <= N <= 16 -> is_table N t -> 0 < frequency t s -> is_state x ->
  let (y, given) := give N t s x in
  let (symbol, z) := decode_symbol N t (encode_symbol N t s y) in
  symbol = s /\ refill z (given ++ units) = Some (x, units).
Proof.
  intros N t s x units HN Ht Hs Hx. destruct (powers N HN) as (P1 & P2 & P3 & P4).
  destruct (slots_inside N t s Ht) as (F1 & F2 & F3).
  assert (Q : forall y, decode_symbol N t (encode_symbol N t s y) = (s, y)).
  { intros y. rewrite (surjective_pairing (decode_symbol _ _ _)), decoded_symbol, decoded_value by lia.
    unfold encode_symbol. pose proof (Z.mod_pos_bound y (frequency t s) Hs) as M. rewrite <- Z.add_assoc.
    rewrite quotient, remainder by lia. cbv zeta.
    rewrite (symbol_of_slot t s) by (eauto using table_nonnegative; lia).
    f_equal. pose proof (Z.div_mod y (frequency t s)). lia. }
  unfold give. destruct (Z.leb_spec (frequency t s * 2 ^ (32 - N)) x); rewrite Q; (split; [reflexivity|]);
    unfold refill, is_state in *.
  - change 65535 with (2 ^ 16 - 1). rewrite Z.shiftr_div_pow2, low_bits by lia.
    assert (x / 2 ^ 16 < 2 ^ 16) by (apply Z.div_lt_upper_bound; [lia | change (2 ^ 16 * 2 ^ 16) with (2 ^ 32); lia]).
    destruct (Z.ltb_spec (x / 2 ^ 16) (2 ^ 16)); [|lia]. cbn [app].
    rewrite joined by (apply Z.mod_pos_bound; lia). pose proof (Z.div_mod x (2 ^ 16)). do 2 f_equal. lia.
  - destruct (Z.ltb_spec x (2 ^ 16)); [lia | reflexivity].
Qed.

(* And the other way round: of the state and the units that a decoder has after a step, an encoder's step makes those from
   before. So there is one encoding only. *)
Theorem step_unique : forall N t x units y unread, 0 <= N <= 16 -> is_table N t -> is_state x -> Forall is_unit units ->
  let (s, z) := decode_symbol N t x in
  refill z units = Some (y, unread) ->
  let (w, given) := give N t s y in encode_symbol N t s w = x /\ given ++ unread = units.
Proof.
  intros N t x units y left HN Ht Hx Hu. pose proof (decoded_range N t x HN Ht Hx) as R.
  pose proof (decoded_value N t x) as V. pose proof (decoded_symbol N t x) as S.
  destruct (decode_symbol N t x) as [s z]. simpl in V, S. rewrite <- S in V by lia.
  destruct (powers N HN) as (P1 & P2 & P3 & P4). destruct R as (R1 & R2 & R3).
  assert (Q : encode_symbol N t s z = x).
  { pose proof (slot_of_symbol t (x mod 2 ^ N) (table_nonnegative _ _ Ht)) as L. rewrite <- S in L by lia.
    destruct Ht as [_ Ht]. rewrite Ht in L. specialize (L (Z.mod_pos_bound x (2 ^ N) P1)).
    unfold encode_symbol. rewrite V by lia. cbv zeta.
    replace (frequency t s * (x / 2 ^ N) + x mod 2 ^ N - cumulative t s)
      with (x / 2 ^ N * frequency t s + (x mod 2 ^ N - cumulative t s)) by lia.
    rewrite quotient, remainder by lia.
    pose proof (Z.div_mod x (2 ^ N)). lia. }
  unfold refill, give. destruct (Z.ltb_spec z (2 ^ 16)).
  - destruct units as [|u units]; [discriminate|]. pose proof (Forall_inv Hu) as U.
    rewrite joined by assumption. intros [<- <-]%same_pair. unfold is_unit in U.
    destruct (Z.leb_spec (frequency t s * 2 ^ (32 - N)) (z * 2 ^ 16 + u)); [|nia].
    change 65535 with (2 ^ 16 - 1). rewrite Z.shiftr_div_pow2, low_bits by lia.
    rewrite quotient, remainder by lia. split; [exact Q | reflexivity].
  - intros [<- <-]%same_pair. destruct (Z.leb_spec (frequency t s * 2 ^ (32 - N)) z); [lia|]. split; [exact Q | reflexivity].
Qed.

(** * A plane *)

Lemma set_length : forall l x states, length (set l x states) = length states.
Proof. induction l; intros x [|y states]; simpl; auto. Qed.

Lemma set_same : forall l x states, (l < length states)%nat -> nth l (set l x states) 0 = x.
Proof. induction l; intros x [|y states] H; simpl in *; try lia. apply IHl. lia. Qed.

Lemma set_back : forall l x states, set l (nth l states 0) (set l x states) = states.
Proof. induction l; intros x [|y states]; simpl; f_equal; auto. Qed.

Lemma set_states : forall n x states, is_state x -> Forall is_state states -> Forall is_state (set n x states).
Proof. intros n x states Hx H. revert n. induction H; intros [|n]; simpl; auto. Qed.

Lemma nth_state : forall l states, (l < length states)%nat -> Forall is_state states -> is_state (nth l states 0).
Proof. intros. eapply Forall_forall; [eassumption | apply nth_In; assumption]. Qed.

(* What can be coded with so many lanes: each place has a lane that there is and a table. *)
Definition is_order (N : Z) (lanes : nat) (order : list (nat * table)) : Prop :=
  Forall (fun '(lane, t) => (lane < lanes)%nat /\ is_table N t) order.

(* Symbols that have slots in the tables of their places. *)
Definition have_slots (order : list (nat * table)) (symbols : list nat) : Prop :=
  Forall2 (fun '(_, t) symbol => 0 < frequency t symbol) order symbols.

(* An encoder's states and units are in their ranges. *)
Theorem encoder_states : forall N order symbols finals, 0 <= N <= 16 -> is_order N (length finals) order ->
  have_slots order symbols -> Forall is_state finals ->
  let (states, units) := encode N order symbols finals in
  length states = length finals /\ Forall is_state states /\ Forall is_unit units.
Proof.
  intros N order symbols finals HN HO HS HF. induction HS as [|[lane t] symbol later others Hs HS IH]; simpl; [auto|].
  pose proof (Forall_inv HO) as [HL Ht]. specialize (IH (Forall_inv_tail HO)).
  destruct (encode N later others finals) as [states units]. destruct IH as (L & S & U).
  pose proof (encoder_state N t symbol (nth lane states 0) HN Ht Hs) as E.
  destruct (give N t symbol (nth lane states 0)) as [x given].
  rewrite <- L in HL. specialize (E (nth_state _ _ HL S)). destruct E as (E1 & E2 & _).
  rewrite set_length, Forall_app. auto using set_states.
Qed.

(* What an encoder writes of a plane, a decoder reads: it gets the symbols, each lane ends in the state in which it was to
   end, and no unit is left; what follows the units makes no difference. *)
Theorem plane_round_trip : forall N order symbols finals unread, 0 <= N <= 16 -> is_order N (length finals) order ->
  have_slots order symbols -> Forall is_state finals ->
  let (states, units) := encode N order symbols finals in
  decode N order states (units ++ unread) = Some (symbols, finals, unread).
Proof.
  intros N order symbols finals unread HN HO HS HF. induction HS as [|[lane t] symbol later others Hs HS IH];
    [reflexivity|]. simpl encode. pose proof (Forall_inv HO) as [HL Ht]. specialize (IH (Forall_inv_tail HO)).
  pose proof (encoder_states N later others finals HN (Forall_inv_tail HO) HS HF) as E.
  destruct (encode N later others finals) as [states units]. destruct E as (L & S & U). rewrite <- L in HL.
  pose proof (step_round_trip N t symbol (nth lane states 0) (units ++ unread) HN Ht Hs (nth_state _ _ HL S)) as R.
  destruct (give N t symbol (nth lane states 0)) as [x given]. cbn [decode].
  rewrite set_same by exact HL. destruct (decode_symbol N t (encode_symbol N t symbol x)) as [s z].
  destruct R as [-> R]. rewrite <- app_assoc, R, set_back, IH. reflexivity.
Qed.

(* States of a decoder stay in their range, and it gets symbols that have slots, whatever the stream holds. *)
Theorem decoder_states : forall N order states units symbols finals unread, 0 <= N <= 16 ->
  is_order N (length states) order -> Forall is_state states -> Forall is_unit units ->
  decode N order states units = Some (symbols, finals, unread) ->
  length finals = length states /\ Forall is_state finals /\ have_slots order symbols.
Proof.
  intros N order. induction order as [|[lane t] later IH]; intros states units symbols finals unread HN HO HS HU D.
  - injection D as <- <- <-. repeat split; [assumption | constructor].
  - pose proof (Forall_inv HO) as [HL Ht]. apply Forall_inv_tail in HO. cbn [decode] in D.
    pose proof (decoded_range N t _ HN Ht (nth_state _ _ HL HS)) as R.
    pose proof (fun y rest => decoder_state N t _ units y rest HN Ht (nth_state _ _ HL HS) HU) as Y.
    destruct (decode_symbol N t (nth lane states 0)) as [s z]. destruct (refill z units) as [[y rest]|] eqn:E;
      [|discriminate]. specialize (Y y rest E).
    assert (Forall is_unit rest).
    { unfold refill in E. destruct (z <? 2 ^ 16).
      - destruct units; [discriminate|]. apply same_pair in E as [_ <-]. exact (Forall_inv_tail HU).
      - apply same_pair in E as [_ <-]. exact HU. }
    destruct (decode N later (set lane y states) rest) as [[[ss fs] u]|] eqn:E'; [|discriminate].
    injection D as <- <- <-. apply IH in E' as (L & F & S); try rewrite set_length; auto using set_states.
    rewrite set_length in L. repeat split; [assumption | assumption | constructor; [apply R | assumption]].
Qed.

(* What a decoder takes is what an encoder writes of the symbols that it gets and the states in which it ends: a plane
   has one encoding only. *)
Theorem plane_unique : forall N order states units symbols finals, 0 <= N <= 16 ->
  is_order N (length states) order -> Forall is_state states -> Forall is_unit units ->
  decode N order states units = Some (symbols, finals, []) -> encode N order symbols finals = (states, units).
Proof.
  intros N order. induction order as [|[lane t] later IH]; intros states units symbols finals HN HO HS HU D.
  - injection D as <- <- ->. reflexivity.
  - pose proof (Forall_inv HO) as [HL Ht]. apply Forall_inv_tail in HO. cbn [decode] in D.
    pose proof (fun y rest => decoder_state N t _ units y rest HN Ht (nth_state _ _ HL HS) HU) as Y.
    pose proof (fun y rest => step_unique N t _ units y rest HN Ht (nth_state _ _ HL HS) HU) as Q.
    destruct (decode_symbol N t (nth lane states 0)) as [s z]. destruct (refill z units) as [[y rest]|] eqn:E;
      [|discriminate]. specialize (Y y rest E). specialize (Q y rest eq_refl).
    assert (Forall is_unit rest).
    { destruct (give N t s y) as [w given]. destruct Q as [_ <-]. apply Forall_app in HU. apply HU. }
    destruct (decode N later (set lane y states) rest) as [[[ss fs] u]|] eqn:E'; [|discriminate].
    injection D as <- <- ?. subst u. apply IH in E'; try rewrite set_length; auto using set_states.
    cbn [encode]. rewrite E', set_same by exact HL. destruct (give N t s y) as [w given]. destruct Q as [-> ->].
    rewrite set_back. reflexivity.
Qed.

(** * Sections 6.2 and 6.3: the places of a tile *)

Definition ceil (a b : nat) : nat := ((a + b - 1) / b)%nat.

(* How a tile of a width is shared out: so many lanes, k below so many steps, the columns of one row that have a symbol,
   and which of them lane l has at k. *)
Record sharing := { lanes : nat; steps : nat; columns : nat; column : nat -> nat -> nat }.

(* "column 32 (k / 4) + 4l + k % 4" *)
Definition own_column (l k : nat) : nat := (32 * (k / 4) + 4 * l + k mod 4)%nat.

(* "Each lane l of a tile, 0 <= l < ceil(width / 4), owns columns 4l to 4l + 3"; "in each row k = 0 to 3" *)
Definition rans (width : nat) := {| lanes := ceil width 4; steps := 4; columns := width; column := own_column |}.

(* "With flag 32 there are at most 8 lanes, which own the same columns of every 32 of the tile"; "0 to 15 with flag 32" *)
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

Ltac divide := zify; Z.to_euclidean_division_equations; lia.

Lemma rans_shares_out : forall width, shares_out (rans width).
Proof.
  intros width. split; cbn [rans rans_base pairs lanes steps columns column]; unfold own_column, ceil.
  - intros j H. exists (j / 4)%nat, (j mod 4)%nat. repeat split; divide.
  - intros. divide.
Qed.

Lemma rans_base_shares_out : forall width, (width <= 128)%nat -> shares_out (rans_base width).
Proof.
  intros width W. split; cbn [rans rans_base pairs lanes steps columns column]; unfold own_column, ceil.
  - intros j H. exists (j mod 32 / 4)%nat, (4 * (j / 32) + j mod 4)%nat.
    repeat split; divide.
  - intros. divide.
Qed.

Lemma pairs_share_out : forall width, shares_out (pairs width).
Proof.
  intros width. split; cbn [rans rans_base pairs lanes steps columns column]; unfold ceil.
  - intros j H. exists (j / 2)%nat, (j mod 2)%nat. repeat split; divide.
  - intros. lia.
Qed.

Lemma NoDup_append : forall A (a b : list A), NoDup a -> NoDup b -> (forall x, In x a -> ~ In x b) -> NoDup (a ++ b).
Proof.
  induction a as [|x a IH]; intros b Ha Hb D; simpl; [exact Hb|]. inversion Ha; subst. constructor.
  - rewrite in_app_iff. intros [|]; [contradiction|]. apply (D x); [left; reflexivity | assumption].
  - apply IH; auto. intros y Hy. apply D. right. exact Hy.
Qed.

Lemma NoDup_flat_map : forall A B (f : A -> list B) a, NoDup a -> (forall x, In x a -> NoDup (f x)) ->
  (forall x y z, In x a -> In y a -> In z (f x) -> In z (f y) -> x = y) -> NoDup (flat_map f a).
Proof.
  induction a as [|x a IH]; intros Ha Hf D; simpl; [constructor|]. inversion Ha; subst. apply NoDup_append.
  - apply Hf. left. reflexivity.
  - apply IH; auto; [intros; apply Hf; right; assumption|]. intros y y' z Hy Hy'. apply D; right; assumption.
  - intros z Hz Hz'. apply in_flat_map in Hz' as (y & Hy & Hy'). assert (x = y); [|subst; contradiction].
    apply (D x y z); auto; [left; reflexivity | right; assumption].
Qed.

Lemma NoDup_map_in : forall A B (f : A -> B) a, NoDup a -> (forall x y, In x a -> In y a -> f x = f y -> x = y) ->
  NoDup (map f a).
Proof.
  induction a as [|x a IH]; intros Ha D; simpl; [constructor|]. inversion Ha; subst. constructor.
  - intros H. apply in_map_iff in H as (y & E & Hy). assert (y = x); [|subst; contradiction].
    apply D; simpl; auto.
  - apply IH; auto. intros y z Hy Hz. apply D; right; assumption.
Qed.

Lemma in_places_of_step : forall s i k l p,
  In (l, p) (places_of_step s i k) <-> (l < lanes s /\ column s l k < columns s)%nat /\ p = (i, column s l k).
Proof.
  intros. unfold places_of_step. rewrite in_map_iff. split.
  - intros (m & [= -> <-] & H). rewrite filter_In, in_seq, Nat.ltb_lt in H. intuition lia.
  - intros (H & ->). exists l. split; [reflexivity|]. rewrite filter_In, in_seq, Nat.ltb_lt. intuition lia.
Qed.

Lemma places_as_flat_map : forall s height, places_of_tile s height =
  flat_map (fun i => flat_map (places_of_step s i) (seq 0 (steps s))) (seq 0 height).
Proof.
  intros. unfold places_of_tile, steps_of_tile. induction (seq 0 height) as [|i rows IH]; [reflexivity|].
  simpl. rewrite concat_app, IH, <- flat_map_concat_map. reflexivity.
Qed.

Lemma in_places : forall s height l i j, In (l, (i, j)) (places_of_tile s height) <->
  exists k, (i < height /\ k < steps s /\ l < lanes s /\ j < columns s)%nat /\ j = column s l k.
Proof.
  intros. rewrite places_as_flat_map, in_flat_map. split.
  - intros (i' & Hi & H). apply in_flat_map in H as (k & Hk & H). apply in_places_of_step in H as (H & [= -> ->]).
    rewrite in_seq in Hi, Hk. exists k. intuition lia.
  - intros (k & H & ->). exists i. rewrite in_seq. split; [lia|]. apply in_flat_map. exists k. rewrite in_seq.
    split; [lia|]. apply in_places_of_step. intuition lia.
Qed.

(* Each element of a tile is decoded once, by a lane that there is. *)
Theorem places_cover : forall s height, shares_out s ->
  NoDup (map snd (places_of_tile s height)) /\
  (forall i j, In (i, j) (map snd (places_of_tile s height)) <-> (i < height /\ j < columns s)%nat) /\
  Forall (fun '(l, _) => (l < lanes s)%nat) (places_of_tile s height).
Proof.
  intros s height [C U]. repeat split.
  - apply NoDup_map_in.
    + rewrite places_as_flat_map. apply NoDup_flat_map; [apply seq_NoDup| |].
      * intros i _. apply NoDup_flat_map; [apply seq_NoDup| |].
        -- intros k _. unfold places_of_step. apply NoDup_map_in; [apply NoDup_filter, seq_NoDup | congruence].
        -- intros k n [l p] Hk Hn H H'. apply in_places_of_step in H as (H & ->), H' as (H' & [= E]).
           rewrite in_seq in Hk, Hn. apply (U l k l n); lia.
      * intros i i' [l p] _ _ H H'. apply in_flat_map in H as (k & _ & H), H' as (k' & _ & H').
        apply in_places_of_step in H as (_ & ->), H' as (_ & [= E _]). exact E.
    + intros [l [i j]] [l' [i' j']] H H' [= -> ->]. apply in_places in H as (k & H & ->), H' as (k' & H' & E).
      f_equal. apply (U l k l' k'); lia.
  - apply in_map_iff in H as ([l [i' j']] & [= -> ->] & H). apply in_places in H as (k & H & _). lia.
  - apply in_map_iff in H as ([l [i' j']] & [= -> ->] & H). apply in_places in H as (k & H & _). lia.
  - intros [Hi Hj]. destruct (C j Hj) as (l & k & Hl & Hk & E). apply in_map_iff. exists (l, (i, j)).
    split; [reflexivity|]. apply in_places. exists k. auto.
  - apply Forall_forall. intros [l [i j]] H. apply in_places in H as (k & H & _). lia.
Qed.

Definition tables_at (choice : nat -> nat -> table) (places : list (nat * (nat * nat))) : list (nat * table) :=
  map (fun '(l, (i, j)) => (l, choice i j)) places.

Definition symbols_at (plane : nat -> nat -> nat) (places : list (nat * (nat * nat))) : list nat :=
  map (fun '(_, (i, j)) => plane i j) places.

(* A tile's plane, whatever table each element uses (6.1), and whatever payload the lanes end with: what an encoder writes
   of it, a decoder reads, to the last unit. *)
Theorem tile_round_trip : forall s height N choice plane finals, shares_out s -> 0 <= N <= 16 ->
  (forall i j, (i < height /\ j < columns s)%nat -> is_table N (choice i j) /\ 0 < frequency (choice i j) (plane i j)) ->
  length finals = lanes s -> Forall is_state finals ->
  let places := places_of_tile s height in
  let (states, units) := encode N (tables_at choice places) (symbols_at plane places) finals in
  Forall is_state states /\ Forall is_unit units /\
  decode N (tables_at choice places) states units = Some (symbols_at plane places, finals, []).
Proof.
  intros s height N choice plane finals HS HN HT HL HF places.
  assert (O : is_order N (length finals) (tables_at choice places)).
  { apply Forall_map, Forall_forall. intros [l [i j]] H. apply in_places in H as (k & H & _).
    rewrite HL. split; [lia | apply HT; lia]. }
  assert (Y : have_slots (tables_at choice places) (symbols_at plane places)).
  { assert (I : forall p, In p places -> In p places) by auto. revert I. generalize places at 1 3 4. intros some I.
    induction some as [|[l [i j]] some IH]; simpl; constructor.
    - specialize (I _ (or_introl eq_refl)). apply in_places in I as (k & H & _). apply HT; lia.
    - apply IH. intros. apply I. right. assumption. }
  pose proof (encoder_states N _ _ finals HN O Y HF) as E. pose proof (plane_round_trip N _ _ finals [] HN O Y HF) as R.
  destruct (encode N (tables_at choice places) (symbols_at plane places) finals) as [states units].
  rewrite app_nil_r in R. intuition.
Qed.

(* The three ways to share out a tile are such ways. *)
Theorem sharings : forall width, (width <= 128)%nat ->
  shares_out (rans width) /\ shares_out (rans_base width) /\ shares_out (pairs width).
Proof. auto using rans_shares_out, rans_base_shares_out, pairs_share_out. Qed.

(* PAIRS, 6.3: "start[2q] + (symbol & 15) and start[2q + 1] + (symbol >> 4)" of a symbol of two codes. *)
Theorem pair_of_codes : forall left right, 0 <= left < 16 -> 0 <= right < 16 ->
  let symbol := left + 16 * right in 0 <= symbol < 256 /\ symbol & 15 = left /\ symbol >> 4 = right.
Proof.
  intros left right L R symbol. subst symbol. change 15 with (2 ^ 4 - 1).
  rewrite low_bits, Z.shiftr_div_pow2 by lia. change (2 ^ 4) with 16.
  replace (left + 16 * right) with (right * 16 + left) by lia. rewrite quotient, remainder by lia. lia.
Qed.

(** * Section 6.2: a warp *)

(* "At each k, the lanes that need a unit take one each in lane order: a warp decodes all lanes at once, and one ballot says
   who takes which." Number i of the lanes of a step knows its own state and table, the ballot, and the units. *)
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

Lemma set_other : forall l m x states, l <> m -> nth m (set l x states) 0 = nth m states 0.
Proof. induction l; intros [|m] x [|y states] H; simpl; auto; try contradiction. Qed.

Lemma nth_skipn_1 : forall n (u : Z) units, nth (S n) (u :: units) 0 = nth n units 0.
Proof. reflexivity. Qed.

(* A warp does what a decoder does lane by lane. *)
Theorem warp_step : forall N step states units, NoDup (map fst step) ->
  warp N step states units = decode N step states units.
Proof.
  intros N step. induction step as [|[lane t] later IH]; intros states units D; [reflexivity|].
  simpl in D. inversion D as [|? ? Hl Hd]; subst. cbn [decode].
  assert (E : forall y, map (fun '(m, t) => decode_symbol N t (nth m (set lane y states) 0)) later =
                        map (fun '(m, t) => decode_symbol N t (nth m states 0)) later).
  { intros y. apply map_ext_in. intros [m t'] H. rewrite set_other; [reflexivity|]. intros <-.
    apply Hl. apply in_map_iff. exists (lane, t'). auto. }
  unfold warp in *. cbn [map length seq combine fold_left]. rewrite <- seq_shift, (map_map S).
  destruct (decode_symbol N t (nth lane states 0)) as [s z]. cbn [nth fst snd firstn].
  unfold refill. destruct (z <? 2 ^ 16) eqn:Z.
  - destruct units as [|u units].
    + reflexivity.
    + rewrite <- IH by exact Hd. rewrite E. unfold count. cbn [filter length Nat.leb skipn nth firstn].
      destruct (_ <=? _)%nat; reflexivity.
  - rewrite <- IH by exact Hd. rewrite E. unfold count. cbn [filter length nth firstn].
    destruct (_ <=? _)%nat; reflexivity.
Qed.
