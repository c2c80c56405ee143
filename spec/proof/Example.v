(* FORMAT.md, section 10: plane 0 of the example, by the definitions. *)

From Coq Require Import ZArith List.
From CodecLLM Require Import Format.
Import ListNotations.
Open Scope Z_scope.

(* 496:13 500:38 504:77 508:89 510:13 512:13 516:13 *)
Definition frequencies : table :=
  repeat 0 496 ++ [13; 0; 0; 0; 38; 0; 0; 0; 77; 0; 0; 0; 89; 0; 13; 0; 13; 0; 0; 0; 13] ++ repeat 0 507.

Definition example : list (list nat) :=
  [[508; 504; 508; 500; 504];
   [510; 504; 508; 508; 512];
   [504; 508; 516; 500; 504];
   [508; 500; 504; 496; 508]]%nat.

Definition places := places_of_tile (rans 5) 4.
Definition order := tables_at (fun _ _ => frequencies) places.
Definition symbols := symbols_at (fun i j => nth j (nth i example []) 0%nat) places.

(* "The states end as 2^16 + 0x3e47 and 2^16 + 0" *)
Definition finals := [2 ^ 16 + 0x3e47; 2 ^ 16].
Definition states := [0x002ec1c4; 0x02726041].
Definition units := [0x6ae4; 0xea12].

Theorem example_is_table : is_table 8 frequencies /\ length frequencies = 1024%nat.
Proof.
  split; [split|]; [|reflexivity|reflexivity]. apply Forall_forall. intros f H.
  assert (E : forallb (fun f => (0 <=? f) && (f <=? 2 ^ 8 - 1))%bool frequencies = true) by (vm_compute; reflexivity).
  rewrite forallb_forall in E. apply E, andb_prop in H as [L U]. apply Z.leb_le in L, U. exact (conj L U).
Qed.

Theorem example_encodes : encode 8 order symbols finals = (states, units).
Proof. vm_compute. reflexivity. Qed.

Theorem example_decodes : decode 8 order states units = Some (symbols, finals, []).
Proof. vm_compute. reflexivity. Qed.
