(* Theorems of lanes that share units, of the tiles that they share out, and of warps. *)

From Coq Require Import ZArith List Lia Bool PeanoNat ZifyNat.
From CodecLLM Require Import Format Step.
Import ListNotations.
Open Scope Z_scope.

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

(* What an encoder writes of a plane, a decoder reads: it gets the symbols, each lane ends in the state in which it was
   to end, and no unit is left; what follows the units makes no difference. *)
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

(** * Tiles *)

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

(* A tile's plane, whatever table each element uses (6.1), and whatever payload the lanes end with: what an encoder
   writes of it, a decoder reads, to the last unit. *)
Theorem tile_round_trip : forall s height N choice plane finals, shares_out s -> 0 <= N <= 16 ->
  (forall i j, (i < height /\ j < columns s)%nat ->
    is_table N (choice i j) /\ 0 < frequency (choice i j) (plane i j)) ->
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

(** * Warps *)

Lemma set_other : forall l m x states, l <> m -> nth m (set l x states) 0 = nth m states 0.
Proof. induction l; intros [|m] x [|y states] H; simpl; auto; try contradiction. Qed.

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

Lemma decode_append : forall N a b states units, decode N (a ++ b) states units =
  match decode N a states units with
  | None => None
  | Some (symbols, states, units) =>
      match decode N b states units with
      | None => None
      | Some (others, finals, unread) => Some (symbols ++ others, finals, unread)
      end
  end.
Proof.
  intros N a b. induction a as [|[lane t] a IH]; intros states units.
  - simpl. destruct (decode N b states units) as [[[? ?] ?]|]; reflexivity.
  - cbn [decode app]. destruct (decode_symbol N t (nth lane states 0)) as [s z].
    destruct (refill z units) as [[y rest]|]; [|reflexivity]. rewrite IH.
    destruct (decode N a (set lane y states) rest) as [[[? ?] ?]|]; [|reflexivity].
    destruct (decode N b _ _) as [[[? ?] ?]|]; reflexivity.
Qed.

Lemma warps_in_turn : forall N steps states units, Forall (fun step => NoDup (map fst step)) steps ->
  decode_by_warp N steps states units = decode N (concat steps) states units.
Proof.
  intros N steps states units D. revert states units. induction D as [|step later H D IH]; intros states units;
    [reflexivity|]. cbn [decode_by_warp concat]. rewrite decode_append, warp_step by exact H.
  destruct (decode N step states units) as [[[? ?] ?]|]; [|reflexivity]. rewrite IH. reflexivity.
Qed.

(* A warp decodes a tile as lanes in turn do, of any stream: the same symbols, states and units left, or none. *)
Theorem tile_by_warp : forall s height N choice states units,
  decode_by_warp N (map (tables_at choice) (steps_of_tile s height)) states units =
  decode N (tables_at choice (places_of_tile s height)) states units.
Proof.
  intros s height N choice states units. rewrite warps_in_turn.
  - f_equal. symmetry. apply concat_map.
  - apply Forall_map, Forall_forall. intros step H. apply in_flat_map in H as (i & _ & H).
    apply in_map_iff in H as (k & <- & _). unfold tables_at, places_of_step. rewrite !map_map. simpl.
    rewrite map_id. apply NoDup_filter, seq_NoDup.
Qed.
