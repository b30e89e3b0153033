"""Attention: every mask, grouped heads, every option of MultiheadAttention, transformers."""

from __future__ import annotations

import numpy as np

from .case import Case, function, layer

RANDOM = np.random.default_rng(5)
TRIANGLE = np.tril(np.ones((4, 4), bool))
ABOVE = ~TRIANGLE
MINUS = np.where(TRIANGLE, 0.0, -np.inf)
SOME = RANDOM.random((2, 1, 3, 4)) > 0.4
SOME[0, 0, 1] = False  # a query that may look at nothing
LATE = np.array([[False, False, False, True], [False, True, True, True]])  # padding, True: ignored
NOBODY = np.array([[False] * 4, [True] * 4])

# --- scaled_dot_product_attention ---

SDPA = "scaled_dot_product_attention"
QKV = [(2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 3)]
GROUPED = [(2, 4, 3, 2), (2, 2, 4, 2), (2, 2, 4, 2)]

CASES: list[Case] = [
    function(SDPA, inputs=QKV),
    function(SDPA, inputs=[(3, 4), (5, 4), (5, 2)], id="matrices"),
    function(SDPA, inputs=[(2, 3, 4), (2, 5, 4), (2, 5, 2)], id="three axes", scale=0.3),
    function(SDPA, inputs=[(2, 1, 3, 4), (1, 2, 4, 4), (1, 2, 4, 3)], id="broadcast"),
    function(SDPA, inputs=QKV, is_causal=True, id="causal, more keys"),
    function(SDPA, inputs=[(1, 2, 5, 4), (1, 2, 3, 4), (1, 2, 3, 2)], is_causal=True,
             id="causal, fewer keys"),
    function(SDPA, inputs=QKV, attn_mask=TRIANGLE[:3], id="boolean"),
    function(SDPA, inputs=QKV, attn_mask=SOME, id="boolean, an empty row"),
    function(SDPA, inputs=QKV, attn_mask=~LATE[:, None, None], id="boolean, broadcast"),
    function(SDPA, inputs=QKV, attn_mask=MINUS[:3], id="minus infinity"),
    function(SDPA, inputs=QKV, attn_mask=np.where(SOME, 0, -np.inf), id="added, an empty row"),
    function(SDPA, inputs=[*QKV, (3, 4)], id="added, with its gradient"),
    function(SDPA, inputs=[*QKV, (2, 1, 1, 4)], id="added and broadcast, with its gradient"),
    function(SDPA, inputs=[*QKV, (2, 3, 4)], id="added for each head"),
    function(SDPA, inputs=GROUPED, enable_gqa=True, id="grouped"),
    function(SDPA, inputs=GROUPED, enable_gqa=True, is_causal=True, id="grouped, causal"),
    function(SDPA, inputs=GROUPED, enable_gqa=True, attn_mask=SOME, id="grouped, masked"),
    function(SDPA, inputs=[*GROUPED, (2, 4, 3, 4)], enable_gqa=True, id="grouped, added"),
]  # fmt: skip

# --- MultiheadAttention ---

MHA = "MultiheadAttention"
X = [(3, 2, 4), (4, 2, 4), (4, 2, 4)]
SQUARE = [(4, 2, 4)] * 3
OTHER = [(3, 2, 4), (4, 2, 3), (4, 2, 5)]
HEADS = np.stack([SOME[0, 0], SOME[1, 0], ~SOME[0, 0], SOME[1, 0]])
HEADS = ~HEADS & ~np.all(~HEADS, axis=-1, keepdims=True)


def multihead(id: str, inputs: list[tuple[int, ...]] = X, mode: str = "train", **options: object):
    """A case; options of `forward` are told from those of the layer by their names."""
    names = ("need_weights", "attn_mask", "key_padding_mask", "average_attn_weights", "is_causal")
    call = {name: options.pop(name) for name in names if name in options}
    return layer(MHA, 4, 2, inputs=inputs, id=id, mode=mode, call=call, **options)


CASES += [
    multihead("plain"),
    multihead("eval", mode="eval"),
    multihead("no weights", need_weights=False),
    multihead("weights of each head", average_attn_weights=False),
    multihead("batch first", [(2, 3, 4), (2, 4, 4), (2, 4, 4)], batch_first=True),
    multihead("unbatched", [(3, 4), (4, 4), (4, 4)]),
    multihead("unbatched, masked", [(3, 4), (4, 4), (4, 4)], attn_mask=ABOVE[:3],
              key_padding_mask=LATE[0], average_attn_weights=False),
    multihead("no bias", bias=False),
    multihead("other sizes", OTHER, kdim=3, vdim=5),
    multihead("other sizes, no bias", OTHER, kdim=3, vdim=5, bias=False),
    multihead("bias_k, bias_v", add_bias_kv=True),
    multihead("zero attention", add_zero_attn=True),
    multihead("both, masked", add_bias_kv=True, add_zero_attn=True, attn_mask=ABOVE[:3],
              key_padding_mask=LATE),
    multihead("boolean mask", attn_mask=ABOVE[:3]),
    multihead("added mask", attn_mask=MINUS[:3]),
    multihead("mask for each head", attn_mask=HEADS),
    multihead("added mask for each head", attn_mask=np.where(HEADS, -1.5, 0.5)),
    multihead("padding", key_padding_mask=LATE),
    multihead("padding, no weights", key_padding_mask=LATE, need_weights=False),
    multihead("added padding", key_padding_mask=np.where(LATE, -np.inf, 0.0)),
    multihead("padding and mask", key_padding_mask=LATE, attn_mask=ABOVE[:3], need_weights=False),
    multihead("causal", SQUARE, is_causal=True, attn_mask=ABOVE, need_weights=False),
    multihead("causal, with weights", SQUARE, is_causal=True, attn_mask=ABOVE),
    multihead("causal and padding", SQUARE, is_causal=True, attn_mask=ABOVE,
              key_padding_mask=LATE, need_weights=False),
    multihead("nobody to look at", key_padding_mask=NOBODY, need_weights=False),
]  # fmt: skip

# --- transformers ---


def encoder(id: str, inputs: list[tuple[int, ...]] | None = None, **options: object) -> Case:
    names = ("src_mask", "src_key_padding_mask", "is_causal")
    call = {name: options.pop(name) for name in names if name in options}
    options = {"dropout": 0.0, **options}
    inputs = inputs or [(4, 2, 4)]
    return layer("TransformerEncoderLayer", 4, 2, 5, inputs=inputs, id=id, call=call, **options)


def decoder(id: str, inputs: list[tuple[int, ...]] | None = None, **options: object) -> Case:
    call = {name: options.pop(name) for name in list(options) if "mask" in name or "causal" in name}
    options = {"dropout": 0.0, **options}
    inputs = inputs or [(3, 2, 4), (4, 2, 4)]
    return layer("TransformerDecoderLayer", 4, 2, 5, inputs=inputs, id=id, call=call, **options)


CASES += [
    encoder("plain"),
    encoder("gelu, normalised first", activation="gelu", norm_first=True),
    encoder("batch first, padding", [(2, 4, 4)], batch_first=True, src_key_padding_mask=LATE),
    encoder("no bias", bias=False, layer_norm_eps=1e-3, order=0),
    encoder("causal", src_mask=MINUS, is_causal=True, order=0),
    encoder("boolean mask and padding", src_mask=ABOVE, src_key_padding_mask=LATE, order=0),
    encoder("unbatched", [(4, 4)], src_mask=ABOVE, order=0),
    encoder("eval", mode="eval", dropout=0.5, order=0),
    decoder("plain", order=0),
    decoder("gelu, normalised first", activation="gelu", norm_first=True),
    decoder("batch first", [(2, 3, 4), (2, 4, 4)], batch_first=True, order=0),
    decoder("no bias", bias=False, order=0),
    decoder("unbatched", [(3, 4), (4, 4)], order=0),
    decoder("every mask", tgt_mask=ABOVE[:3, :3], memory_mask=ABOVE[:3],
            tgt_key_padding_mask=LATE[:, [0, 2, 3]], memory_key_padding_mask=LATE),
    decoder("causal", tgt_mask=MINUS[:3, :3], tgt_is_causal=True, order=0),
    layer("Transformer", 4, 2, 1, 1, 5, 0.0, batch_first=True, order=0,
          inputs=[(2, 4, 4), (2, 3, 4)],
          call={"tgt_mask": MINUS[:3, :3], "memory_key_padding_mask": LATE}),
    layer("Transformer", 4, 2, 2, 2, 5, 0.0, "gelu", batch_first=True, order=0,
          inputs=[(2, 4, 4), (2, 3, 4)], id="two layers, every mask",
          call={"src_key_padding_mask": LATE, "src_mask": ABOVE, "memory_mask": ABOVE[:3],
                "tgt_key_padding_mask": LATE[:, :3], "tgt_mask": ABOVE[:3, :3],
                "tgt_is_causal": True}),
]  # fmt: skip
# order=0: the arithmetic of a case above whose derivatives are checked; again they would be slow.
