"""Properties of the output of classifiers and of sequence models, with the cases that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from phasescope.errors import InputError
from phasescope.synapses.properties import Property

Cases = Tensor | Sequence[int] | Sequence[bool]


class Logit(Property):
    """The mean of one output over some cases.

    Parameters
    ----------
    k : int
        Number of the output, a class or a token.
    cases : tensor or sequence, optional
        Numbers of the samples, or a mask of bool of shape (samples,), or of the shape of the output without
        its last axis. By default all, and then nothing is outside.
    name : str, optional
        For people and tables.

    Raises
    ------
    InputError
        When it is read off an output without such a class or such cases.
    """

    def __init__(self, k: int, *, cases: Cases | None = None, name: str | None = None) -> None:
        self.k, self.cases = int(k), cases
        self.name = name or f"logit of class {k}"

    def value(self, picture: Tensor) -> Tensor:
        """Return the mean logit.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output.
        """
        _check_classes(picture, self.k)
        return _chosen(picture, self.cases)[..., self.k].mean()

    def support(self, picture: Tensor) -> Tensor | None:
        """Return the cases, bool of shape (samples, ...), or None for all.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output.
        """
        return None if self.cases is None else _mask(picture, self.cases)

    def elsewhere(self, mask: Tensor) -> Property:
        """Return the same property of other cases.

        Parameters
        ----------
        mask : tensor of bool, shape (samples, ...)
            The other cases.
        """
        other = copy(self)
        other.cases = mask
        return other


class ClassMargin(Property):
    r"""The mean margin of a class over some cases, in logits.

    The mean of :math:`z_k - z_j` for a class j to compare with, or of :math:`z_k - \max_{j \ne k} z_j`.
    Positive means: on average the class wins.

    Parameters
    ----------
    k : int or tensor, shape (samples,)
        The class; a tensor gives each sample its own, such as its label.
    against : int, optional
        The class to compare with; by default the largest of all others, which has a kink where two are equal.
    cases : tensor or sequence, optional
        As in :class:`Logit`.
    name : str, optional
        For people and tables.

    Raises
    ------
    InputError
        If both classes are the same; when it is read off an output without such classes or such cases.
    """

    def __init__(
        self,
        k: int | Tensor,
        against: int | None = None,
        *,
        cases: Cases | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(k, int) and k == against:
            raise InputError(f"The margin of class {k} against itself is 0.", "Choose another class.")
        self.k, self.against, self.cases = k, against, cases
        one = f"class {k}" if isinstance(k, int) else "each sample's own class"
        other = "the next" if against is None else f"class {against}"
        self.name = name or f"margin of {one} over {other}"

    def value(self, picture: Tensor) -> Tensor:
        """Return the mean margin.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output.
        """
        own = torch.as_tensor(self.k, device=picture.device)
        own = own.reshape(own.shape + (1,) * (picture.ndim - 1 - own.ndim)).expand(picture.shape[:-1])
        numbers = _chosen(picture, self.cases, own)
        return _margins(_chosen(picture, self.cases), numbers, self.against).mean()

    def support(self, picture: Tensor) -> Tensor | None:
        """Return the cases, bool of shape (samples, ...), or None for all.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output.
        """
        return None if self.cases is None else _mask(picture, self.cases)

    def elsewhere(self, mask: Tensor) -> Property:
        """Return the same property of other cases.

        Parameters
        ----------
        mask : tensor of bool, shape (samples, ...)
            The other cases.
        """
        other = copy(self)
        other.cases = mask
        return other


class NextTokenMargin(Property):
    """The mean margin of the token that should follow, over the positions that are asked, in logits.

    Parameters
    ----------
    following : tensor of int, shape (samples, positions)
        The token that should follow at each position; a negative number, such as -100, where it is not asked.
    against : int, optional
        The token to compare with; by default the largest of all others.
    name : str, optional
        For people and tables.

    Raises
    ------
    InputError
        If no position is asked; when it is read off an output of another shape or with fewer tokens.
    """

    def __init__(self, following: Tensor, against: int | None = None, *, name: str | None = None) -> None:
        self.following, self.against = torch.as_tensor(following), against
        if not bool((self.following >= 0).any()):
            raise InputError("No position is asked.", "Give at least one token that should follow.")
        self.name = name or "margin of the next token"

    def value(self, picture: Tensor) -> Tensor:
        """Return the mean margin.

        Parameters
        ----------
        picture : tensor, shape (samples, positions, tokens)
            The output.
        """
        asked = self.support(picture)
        return _margins(picture[asked], self.following.to(picture.device)[asked], self.against).mean()

    def support(self, picture: Tensor) -> Tensor:
        """Return the positions that are asked, bool of shape (samples, positions).

        Parameters
        ----------
        picture : tensor, shape (samples, positions, tokens)
            The output.
        """
        if self.following.shape != picture.shape[:-1]:
            raise InputError(
                f"The tokens that follow have shape {tuple(self.following.shape)}.",
                f"The output {tuple(picture.shape)} needs {tuple(picture.shape[:-1])}.",
            )
        return (self.following >= 0).to(picture.device)


class CalibrationError(Property):
    r"""The expected calibration error with soft bins: confidence minus accuracy, as an absolute value a bin.

    With the confidence c_n, the largest softmax of case n, t_n = 1 where that class is right, else 0, and B
    bins with centres m_b = (b + 1/2) / B,

    .. math::
        \mathrm{ECE} = \frac1N \sum_b \Bigl| \sum_n a_{nb} (c_n - t_n) \Bigr|,
        \qquad a_{nb} = \operatorname{softmax}_b \frac{-(c_n - m_b)^2}{2 (\mathtt{softness} / B)^2}.

    As `softness` tends to 0 this is the usual error with B bins of equal width. Which class is the largest
    has no gradient, so a change of weights is followed as long as no decision changes.

    Parameters
    ----------
    labels : tensor of int, shape (samples,) or of the output without its last axis
        The right classes; a negative number where a case is not asked.
    bins : int
        Number of bins B.
    softness : float
        Width of the border between bins, in bins.
    name : str, optional
        For people and tables.

    Raises
    ------
    InputError
        If a setting is out of range, or no case is asked; when it is read off an output of another shape.

    Notes
    -----
    After the soft-binned error of arXiv:2108.00106, with the absolute value in place of the square.
    """

    def __init__(
        self, labels: Tensor, *, bins: int = 15, softness: float = 0.25, name: str | None = None
    ) -> None:
        if bins < 1 or not softness > 0:
            raise InputError(f"bins={bins}, softness={softness}.", "Both must be positive.")
        self.labels, self.bins, self.softness = torch.as_tensor(labels), bins, softness
        if not bool((self.labels >= 0).any()):
            raise InputError("No case is asked.", "Give the right class of at least one.")
        self.name = name or "calibration error"

    def value(self, picture: Tensor) -> Tensor:
        """Return the error, from 0 to 1.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output, logits.
        """
        asked = self._asked(picture)
        labels = self.labels.to(picture.device)[asked]
        confidence, decided = picture[asked].softmax(-1).max(-1)
        centres = (torch.arange(self.bins, dtype=picture.dtype, device=picture.device) + 0.5) / self.bins
        distance = (confidence[:, None] - centres) * (self.bins / self.softness)
        share = (-distance.square() / 2).softmax(1)
        gap = confidence - (decided == labels).to(confidence)
        return (share * gap[:, None]).sum(0).abs().sum() / len(gap)

    def support(self, picture: Tensor) -> Tensor | None:
        """Return the cases that are asked, bool of shape (samples, ...), or None for all.

        Parameters
        ----------
        picture : tensor, shape (samples, ..., classes)
            The output.
        """
        asked = self._asked(picture)
        return None if bool(asked.all()) else asked

    def _asked(self, picture: Tensor) -> Tensor:
        if self.labels.shape != picture.shape[:-1]:
            raise InputError(
                f"The labels have shape {tuple(self.labels.shape)}.",
                f"The output {tuple(picture.shape)} needs {tuple(picture.shape[:-1])}.",
            )
        return (self.labels >= 0).to(picture.device)


def _mask(output: Tensor, cases: Cases) -> Tensor:
    """Return cases as a mask over all axes of the output but the last."""
    shape = output.shape[:-1]
    given = torch.as_tensor(cases, device=output.device)
    if given.dtype == torch.bool:
        if given.shape not in (shape, shape[:1]):
            raise InputError(f"The mask of cases has shape {tuple(given.shape)}.", f"Use {tuple(shape)}.")
        mask = given.reshape(given.shape + (1,) * (len(shape) - given.ndim)).expand(shape)
    else:
        mask = torch.zeros(shape, dtype=torch.bool, device=output.device)
        if given.ndim != 1 or given.is_floating_point() or not shape:
            raise InputError(
                f"The cases are of shape {tuple(given.shape)} and type {given.dtype}.",
                "Give numbers of samples, or a mask.",
            )
        if given.numel() and not (-shape[0] <= int(given.min()) and int(given.max()) < shape[0]):
            raise InputError(
                f"Case {int(given.abs().max())} is asked of {shape[0]}.", "Count the samples from 0."
            )
        mask[given.long()] = True
    if not bool(mask.any()):
        raise InputError("No case is chosen.", "Choose at least one sample.")
    return mask


def _chosen(output: Tensor, cases: Cases | None, of: Tensor | None = None) -> Tensor:
    """Return the rows of the chosen cases, of the output or of something of its shape without classes."""
    found = output if of is None else of
    return found if cases is None else found[_mask(output, cases)]


def _check_classes(output: Tensor, *numbers: int) -> None:
    classes = output.shape[-1] if output.ndim > 1 else 0
    for number in numbers:
        if not 0 <= number < classes:
            raise InputError(
                f"Class {number} is asked of an output of shape {tuple(output.shape)}.",
                "The last axis counts the classes, from 0.",
            )


def _margins(rows: Tensor, own: Tensor, against: int | None) -> Tensor:
    """Return z_own - z_against, or over the largest of all others."""
    _check_classes(rows, int(own.min()), int(own.max()), *([] if against is None else [against]))
    mine = rows.gather(-1, own[..., None].long())[..., 0]
    if against is not None:
        return mine - rows[..., against]
    return mine - rows.scatter(-1, own[..., None].long(), -torch.inf).amax(-1)
