"""Infinite width and the first corrections in 1/width, for any activation."""

from phasescope.theory.adam import first_adam_rate
from phasescope.theory.alternatives import alternatives
from phasescope.theory.aspect_ratio import aspect_ratio, vertex_rate, width_for_depth
from phasescope.theory.critical import CriticalPoint, critical_point
from phasescope.theory.critical_line import CriticalLinePoint, critical_line
from phasescope.theory.finite_width import KernelFluctuations, four_point_vertex
from phasescope.theory.gaussian import expectation
from phasescope.theory.hysteresis import (
    BistableUnit,
    CurvedMemory,
    decayed_modes,
    weight_decay_collapse,
)
from phasescope.theory.jacobian_products import (
    layer_bits,
    product_moments,
    product_participation,
    product_rank_deep,
    product_rank_fraction,
    residual_spread,
    slope_ratio,
)
from phasescope.theory.kernel import FixedPoint, MeanField, Phase
from phasescope.theory.langevin import (
    crossing_learning_coefficient,
    power_learning_coefficient,
    quadratic_learning_coefficient,
    reduced_rank_learning_coefficient,
    semi_implicit_variance,
)
from phasescope.theory.lazy import (
    TwoLayerLinear,
    orthonormal_tangent_kernel,
    random_flips,
    two_layer_linear,
)
from phasescope.theory.marginal import (
    first_layer_kernel,
    largest_bias_variance,
    overflow_depth,
    survival_depth,
    unstable_kernel,
)
from phasescope.theory.polynomials import PolynomialUnits, mrepu_polynomial, mrepu_product
from phasescope.theory.rectified_power import (
    RectifiedPowerFixedPoints,
    repu_C_b_max,
    repu_coefficient,
    repu_fixed_points,
    repu_log_kernel_std,
    repu_susceptibilities,
    repu_trajectory,
    repu_unstable_kernel,
)
from phasescope.theory.scaling_function import FiniteWidthScaling, finite_width_scaling
from phasescope.theory.tangent_gram import TangentGram, input_distances
from phasescope.theory.tangent_kernel import (
    TangentKernel,
    deep_tangent_ratio,
    tangent_kernel,
    tangent_ratio,
)

__all__ = [
    "BistableUnit",
    "CriticalLinePoint",
    "CriticalPoint",
    "CurvedMemory",
    "FiniteWidthScaling",
    "FixedPoint",
    "KernelFluctuations",
    "MeanField",
    "Phase",
    "PolynomialUnits",
    "RectifiedPowerFixedPoints",
    "TangentGram",
    "TangentKernel",
    "TwoLayerLinear",
    "alternatives",
    "aspect_ratio",
    "critical_line",
    "critical_point",
    "crossing_learning_coefficient",
    "decayed_modes",
    "deep_tangent_ratio",
    "expectation",
    "finite_width_scaling",
    "first_adam_rate",
    "first_layer_kernel",
    "four_point_vertex",
    "input_distances",
    "largest_bias_variance",
    "layer_bits",
    "mrepu_polynomial",
    "mrepu_product",
    "orthonormal_tangent_kernel",
    "overflow_depth",
    "power_learning_coefficient",
    "product_moments",
    "product_participation",
    "product_rank_deep",
    "product_rank_fraction",
    "quadratic_learning_coefficient",
    "random_flips",
    "reduced_rank_learning_coefficient",
    "repu_C_b_max",
    "repu_coefficient",
    "repu_fixed_points",
    "repu_log_kernel_std",
    "repu_susceptibilities",
    "repu_trajectory",
    "repu_unstable_kernel",
    "residual_spread",
    "semi_implicit_variance",
    "slope_ratio",
    "survival_depth",
    "tangent_kernel",
    "tangent_ratio",
    "two_layer_linear",
    "unstable_kernel",
    "vertex_rate",
    "weight_decay_collapse",
    "width_for_depth",
]


def __dir__() -> list[str]:
    return list(__all__)
