(* Theorems of one step of a lane: states stay in [2^16, 2^32), and encoder and decoder undo each other. *)

From Coq Require Import ZArith List Lia Bool.
From CodecLLM Require Import Format.
Import ListNotations.
Open Scope Z_scope.

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
Theorem decoder_state : forall N t x units y unread,
  0 <= N <= 16 -> is_table N t -> is_state x -> Forall is_unit units ->
  refill (snd (decode_symbol N t x)) units = Some (y, unread) -> is_state y.
Proof.
  intros N t x units y left HN Ht Hx Hu. pose proof (decoded_range N t x HN Ht Hx) as R.
  destruct (decode_symbol N t x) as [s z]; simpl. destruct (powers N HN) as (P1 & P2 & P3 & P4).
  unfold refill, is_state in *. destruct (Z.ltb_spec z (2 ^ 16)).
  - destruct units as [|u units]; [discriminate|]. inversion Hu; subst. rewrite joined by assumption.
    intros [<- <-]%same_pair.
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
  assert (Q : forall y, frequency t s * 2 ^ (16 - N) <= y < frequency t s * 2 ^ (32 - N) ->
    is_state (encode_symbol N t s y)).
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

(* And the other way round: of the state and the units that a decoder has after a step, an encoder's step makes those
   from before. So there is one encoding only. *)
Theorem step_unique : forall N t x units y unread,
  0 <= N <= 16 -> is_table N t -> is_state x -> Forall is_unit units ->
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
  - intros [<- <-]%same_pair. destruct (Z.leb_spec (frequency t s * 2 ^ (32 - N)) z); [lia|].
    split; [exact Q | reflexivity].
Qed.
