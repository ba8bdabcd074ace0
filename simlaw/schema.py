"""The schema of the results table, the narrow waist: one row per evaluation, reproducible columns only.

Times, hosts and throughput go to the store's telemetry. An empty cell means "does not apply" (bits of an unquantised
tensor, numbers of a failed run); a number is never made up in its place.
"""

from dataclasses import dataclass
from typing import Literal

from simlaw.declared import Above, Between

Kind = Literal["text", "int", "float"]


@dataclass(frozen=True)
class Column:
    """One column: its name, its kind, and what it holds with its unit."""

    name: str
    kind: Kind
    holds: str


COLUMNS = (
    Column("run_id", "text", "hash of run spec, corpus fingerprint and numerics"),
    Column("eval_id", "text", "hash of run_id and evaluation spec; the row's identity"),
    Column(
        "trunk_id", "text", "hash of the constant-rate run that the branches of all D share; the bootstrap's cluster"
    ),
    Column("status", "text", "done, diverged, or failed: it could not be done here, and says nothing of the run"),
    Column("note", "text", "the sentence that goes with a status other than done"),
    Column("corpus", "text", "kind of corpus: text, graph"),
    Column("corpus_fingerprint", "text", "hash of everything that decides the tokens"),
    Column("vocab", "int", "size of the vocabulary"),
    Column("epochs", "float", "training tokens / unique tokens; 0 where fresh ones never end; above 1 data repeats"),
    Column("width", "int", "model width"),
    Column("layers", "int", "layers"),
    Column("heads", "int", "attention heads"),
    Column("hidden", "int", "feed-forward width"),
    Column("head_dim", "int", "dimensions of one head"),
    Column("kv_heads", "int", "heads of keys and values"),
    Column("context", "int", "tokens predicted in one window"),
    Column("positions", "text", "how the model knows positions: rope, learned"),
    Column("norm", "text", "rms, layer"),
    Column("feed", "text", "feed-forward layer: swiglu, gelu"),
    Column("tied", "int", "1 where the output matrix is the embedding"),
    Column("qk_norm", "int", "1 where queries and keys are normalised"),
    Column("output_norms", "int", "1 where a norm precedes each projection into the residual stream"),
    Column("bound", "float", "largest magnitude of an input of a block matrix; empty: none"),
    Column("mup_base_width", "int", "width from which muP transfers rates; empty: the standard parametrization"),
    Column("params_embedding", "int", "parameters of the input embedding"),
    Column("params_blocks", "int", "parameters of the block matrices: N, non-embedding"),
    Column("params_norms", "int", "parameters of the norms"),
    Column("params_head", "int", "parameters of the output matrix"),
    Column("tokens", "int", "D: all training tokens that the evaluated model saw"),
    Column("batch_tokens", "int", "tokens per optimizer step"),
    Column("seed", "int", "seed of initialisation and of the order of data"),
    Column("optimizer", "text", "adamw, sgd, muon"),
    Column("schedule", "text", "learning-rate schedule: wsd, cosine"),
    Column("warmup_tokens", "int", "tokens of warm-up"),
    Column("cooldown", "float", "share of the tokens in the linear cool-down; empty for a cosine"),
    Column("peak_rate", "float", "learning rate between warm-up and cool-down"),
    Column("rate_multiple", "float", "peak rate / the recipe's rate for the size; fits take 1"),
    Column("final_rate", "float", "learning rate of the last step"),
    Column("weight_decay", "float", "decoupled weight decay of the matrices"),
    Column("z_loss", "float", "weight of the squared log-normaliser in the training objective"),
    Column("train_weights_bits", "int", "P_w: bits of the weights in training; empty: unquantised"),
    Column("train_weights_grid", "text", "their grid"),
    Column("train_weights_granularity", "text", "what shares one of their scales: tensor, channel, group"),
    Column("train_weights_group", "int", "inputs in a group"),
    Column("train_weights_format", "text", "int, nf4, or a float by exponent and mantissa"),
    Column("train_activations_bits", "int", "P_a: bits of the inputs of block matrices in training"),
    Column("train_activations_format", "text", "their format, with its grid where that is not symmetric"),
    Column("train_activations_granularity", "text", "what shares one of their scales: tensor (a batch), token, group"),
    Column("train_kv_bits", "int", "P_kv: bits of keys and values in training"),
    Column("train_kv_format", "text", "their format"),
    Column("train_gradients_bits", "int", "bits of the gradients of block matrices' outputs"),
    Column("train_gradients_format", "text", "their format"),
    Column("train_settings", "text", "how training quantizes, as JSON, where a setting is not the default"),
    Column("train_begins", "float", "share of the tokens before the precision begins; empty: from the start"),
    Column("flops_train_6nd", "float", "6 x params_blocks x tokens"),
    Column("flops_train_matmul", "float", "3 x forward FLOPs of every matrix product, head and attention included"),
    Column("average", "text", "which average of the weights was measured: ema, lawa; empty: the last weights"),
    Column("average_tokens", "int", "time constant of an ema, span between snapshots of a lawa"),
    Column("average_count", "int", "snapshots of a lawa"),
    Column("ptq_method", "text", "post-training quantization: rtn, gptq, awq, ...; empty: as trained"),
    Column("ptq_bits", "int", "P_post; empty: as trained, which laws treat as infinity"),
    Column("ptq_grid", "text", "grid of ptq_bits; empty for formats that are no integers"),
    Column(
        "ptq_granularity", "text", "what shares a scale: tensor, channel, group, block; by the shapes of this model"
    ),
    Column("ptq_group", "int", "inputs in a group or block"),
    Column("ptq_format", "text", "int, nf4, or a float by exponent and mantissa: e2m1, e4m3_nan, ..."),
    Column("ptq_scale", "text", "stored scales: float16, float32, poweroftwo, float8"),
    Column("ptq_calibration", "text", "how a scale is chosen: absmax, percentile, mse"),
    Column("ptq_rounding", "text", "nearest, stochastic"),
    Column("ptq_settings", "text", "the method and its quantizers as JSON, where a setting is not the default"),
    Column("ptq_rotate", "int", "1 where a Hadamard matrix turns the inputs first"),
    Column("ptq_activations_bits", "int", "bits of the inputs of block matrices; empty: as trained"),
    Column("ptq_activations_format", "text", "their format"),
    Column("ptq_activations_granularity", "text", "what shares one of their scales: tensor, token, group"),
    Column("ptq_kv_bits", "int", "bits of keys and values; empty: as trained"),
    Column("ptq_kv_format", "text", "their format"),
    Column("calibration_sequences", "int", "windows of training text that the method looked at"),
    Column("calibration_seed", "int", "their seed"),
    Column("ptq_outliers", "text", "outliers planted before quantization, as JSON; empty: none"),
    Column(
        "weight_kurtosis", "float", "log kurtosis of a matrix before rounding (normal: 1.0986); this and the next six"
    ),
    Column("weight_peak", "float", "largest magnitude / root mean square of a matrix; are means over block matrices,"),
    Column("weight_error", "float", "mean squared error of a matrix / its mean square; weighed by their parameters"),
    Column("weight_step", "float", "mean squared step between codes, in weights^2; empty where steps are not equal"),
    Column("output_error", "float", "|x w_q - x w|^2 / |x w|^2 on the calibration text; empty: no text was looked at"),
    Column("bits_stored", "float", "stored bits per block parameter, with scales: 8 x bytes_blocks / params_blocks"),
    Column("bits_entropy", "float", "the same with codes by their entropy, one distribution for each matrix"),
    Column("delta_limit", "float", "delta of the same run under ratedistortion at the same bits; mean of its seeds"),
    Column("hessian_windows", "int", "held-out windows on which the Hessian of the loss was probed; empty: it was not"),
    Column("hessian_probes", "int", "its probes"),
    Column("hessian_trace", "float", "its trace in all block matrices before rounding: nats per token / weights^2"),
    Column("hessian_trace_se", "float", "its standard error over probes"),
    Column(
        "delta_quadratic",
        "float",
        "half the trace in a matrix x its mean squared error, summed; empty where inputs are quantized too",
    ),
    Column("eval_tokens", "int", "held-out tokens measured"),
    Column("flops_eval", "float", "forward FLOPs of the measurement"),
    Column(
        "bytes_blocks",
        "float",
        "stored bytes of the block matrices with scales, zero points and what a method stores of their inputs; 16 bits "
        "where unquantised",
    ),
    Column("bytes_total", "float", "bytes_blocks + embedding, norms and head at 16 bits"),
    Column("loss", "float", "nats per token"),
    Column("loss_se", "float", "its standard error over held-out windows"),
    Column("delta", "float", "delta_PTQ: loss minus the same checkpoint's loss as trained, on the same tokens"),
    Column("delta_se", "float", "its paired standard error over windows: token noise only, seeds come on top"),
    Column("floor", "float", "exact Bayes loss on the same tokens; empty where unknown"),
    Column("excess", "float", "loss - floor"),
    Column("device", "text", "cpu, gpu or tpu"),
    Column("dtype", "text", "arithmetic of matrix products in training and evaluation: float32, bfloat16"),
    Column("numerics", "int", "raised by hand when numbers change on purpose"),
    Column("code_version", "text", "version of simlaw"),
    Column("jax_version", "text", "version of jax"),
)

#: What every row says; its ids are also names of files, and lead nowhere else.
REQUIRED = ("run_id", "eval_id", "trunk_id", "status", "params_blocks", "tokens")
IDS = ("run_id", "eval_id", "trunk_id")
STATUSES = ("done", "diverged", "failed")

_SIZES = (
    *("vocab", "width", "layers", "heads", "hidden", "head_dim", "kv_heads", "context", "params_blocks", "tokens"),
    *("batch_tokens", "eval_tokens", "ptq_group", "train_weights_group", "calibration_sequences"),
)
_BITS = (
    *("train_weights_bits", "train_activations_bits", "train_kv_bits", "train_gradients_bits"),
    *("ptq_bits", "ptq_activations_bits", "ptq_kv_bits"),
)
_ABOVE = ("loss", "peak_rate", "rate_multiple", "bytes_blocks", "bytes_total", "flops_train_6nd", "flops_eval")
_NOT_BELOW = ("loss_se", "delta_se", "floor", "epochs", "weight_decay", "z_loss", "warmup_tokens", "seed", "numerics")
#: Between what a number lies; where nothing is said, it is finite.
BOUNDS: dict[str, Above | Between] = {
    **dict.fromkeys(_SIZES, Between(1)),
    **dict.fromkeys(_BITS, Between(1, 32)),
    **dict.fromkeys(_ABOVE, Above(0)),
    **dict.fromkeys(_NOT_BELOW, Between(0)),
}

#: What says how a checkpoint was quantized; empty in rows of checkpoints as trained.
QUANTIZATION = (
    *("ptq_method", "ptq_bits", "ptq_grid", "ptq_granularity", "ptq_group", "ptq_format", "ptq_scale"),
    *("ptq_calibration", "ptq_rounding", "ptq_settings", "ptq_rotate", "ptq_activations_bits"),
    *("ptq_activations_format", "ptq_activations_granularity", "ptq_kv_bits", "ptq_kv_format"),
    *("calibration_sequences", "calibration_seed", "ptq_outliers"),
)

#: What says in which precision a run was trained; empty in rows of runs that were not quantized.
TRAINING_PRECISION = (
    *("train_weights_bits", "train_weights_grid", "train_weights_granularity", "train_weights_group"),
    *("train_weights_format", "train_activations_bits", "train_activations_format", "train_activations_granularity"),
    *("train_kv_bits", "train_kv_format", "train_gradients_bits", "train_gradients_format"),
    *("train_settings", "train_begins"),
)

#: What every row of one analysis must share, for no law here knows it; what may differ between sizes is not in it.
CONFOUNDERS = (
    *("corpus_fingerprint", "vocab", "context", "batch_tokens", "eval_tokens", "dtype"),
    *("positions", "norm", "feed", "tied", "qk_norm", "output_norms", "bound", "mup_base_width"),
    *("optimizer", "schedule", "cooldown", "weight_decay", "z_loss"),
    *("average", "average_tokens", "average_count"),
)
#: What rows of one size must share.
CONFOUNDERS_OF_A_SIZE = ("width", "layers", "heads", "hidden", "head_dim", "kv_heads", "warmup_tokens")

KINDS: dict[str, Kind] = {column.name: column.kind for column in COLUMNS}
