"""Attacks that only ask, beside those of other libraries: what they reach with the same number of queries."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Effort, NotInstalledError, Row, Table, say
from benchmarks.peers import needs
from benchmarks.subjects import Subject, ball_name, subjects
from benchmarks.torch_networks import from_torch, to_torch, torch_labels
from evofool import Classifier
from evofool.attacks import (
    AttackResult,
    HopSkipJumpOptions,
    NESOptions,
    OnePixelOptions,
    SquareOptions,
    Untargeted,
    hop_skip_jump,
    nes,
    one_pixel,
    square,
)

_BATCH = 64
_ROUNDING = 1e-4
_COLOUR = {"linf": 4 / 255, "l2": 0.5, "pixels": 1}
_GREY = {"linf": 0.15, "l2": 2.0, "pixels": 5}
_AFTER = (250, 500, 1000)
"""Queries after which the distances of HopSkipJump are compared."""


def queries(effort: Effort) -> Iterator[Table]:
    """Attacks that only ask, beside ART, Foolbox, torchattacks and NumPy, for the same queries of each image.

    All images are classified correctly at first. A peer attacks them one by one; a function that stands in
    for the classifier counts what it asks about, an image that it asks about again only once, and ends the
    attack at the first wrong image within the ball, or at the last query. An image that is never fooled
    counts with all its queries. HopSkipJump is measured by the Euclidean length of the change of the nearest
    wrong image that it asked about. No library has NES: its peer is algorithm 1 of Ilyas et al. in NumPy, on
    the cross-entropy and with the same samples, noise and steps, which looks at the image after each step.
    """
    for found in subjects(effort, effort.size(50, 2)):
        if found.images.shape[3] > 1:
            found = found.first(effort.size(20, 2))
        about = f"{len(found.images)} {found.name} against {found.classifier.spec.name}"
        yield Table(f"Success and queries of attacks that only ask, on {about}", list(_rows(effort, found)))
        title = f"Median L2 of HopSkipJump by the number of queries, on {about}"
        yield Table(title, list(_distances(effort, found)))


def _rows(effort: Effort, found: Subject) -> Iterator[Row]:
    size = _GREY if found.images.shape[3] == 1 else _COLOUR
    goal, few, more = Untargeted(found.labels), effort.size(500, 20), effort.size(1000, 60)
    for norm in ("linf", "l2"):
        squares = SquareOptions(norm, size[norm], max_queries=few)
        yield from _compared(
            f"square, {ball_name(norm, size[norm])}",
            found,
            few,
            square(found.classifier, found.images, goal, squares),
            _ball(norm, size[norm]),
            {
                "ART": lambda oracle: _art_square(oracle, squares),  # noqa: B023
                "torchattacks": lambda oracle: _torch_square(oracle, squares),  # noqa: B023
            },
        )
    options = NESOptions(size["linf"], max_queries=more)
    yield from _compared(
        f"NES, {ball_name('linf', size['linf'])}",
        found,
        more,
        nes(found.classifier, found.images, goal, options),
        _ball("linf", size["linf"]),
        {"NumPy": lambda oracle: _plain_nes(oracle, options)},
    )
    pixels = OnePixelOptions(int(size["pixels"]), max_queries=few)
    yield from _compared(
        "one pixel" if pixels.pixels == 1 else f"one pixel, with {pixels.pixels} pixels",
        found,
        few,
        one_pixel(found.classifier, found.images, goal, pixels),
        _few_pixels(pixels.pixels),
        {"torchattacks": lambda oracle: _torch_one_pixel(oracle, pixels)},
    )


def _distances(effort: Effort, found: Subject) -> Iterator[Row]:
    after = effort.size(_AFTER, (60,))
    lengths = []
    for most in after:
        options = HopSkipJumpOptions(max_queries=most)
        result = hop_skip_jump(found.classifier, found.images, Untargeted(found.labels), options)
        lengths.append(np.where(result.success, result.l2, np.inf))
    yield _distance_row("evofool", after, np.stack(lengths, axis=1))
    for by, attack in {"Foolbox": _foolbox_hop_skip_jump, "ART": _art_hop_skip_jump}.items():
        try:
            oracles = list(_asked(found, after[-1], None, attack))
        except NotInstalledError as error:
            yield {"by": by, "note": str(error)}
            continue
        yield _distance_row(by, after, np.array([[each.nearest(most) for most in after] for each in oracles]))


def _distance_row(by: str, after: tuple[int, ...], lengths: np.ndarray) -> Row:
    medians = np.median(lengths, axis=0)
    say(f"    HopSkipJump, {by}: {medians}")
    return {"by": by} | {
        f"after_{most}_queries": round(float(each), 3) for most, each in zip(after, medians, strict=True)
    }


class _FinishedError(Exception):
    """An attack has fooled the classifier, or spent its queries."""


Inside = Callable[[np.ndarray], bool]


class _Oracle:
    """A classifier as a function of NumPy arrays that follows an attack on one image.

    Attributes:
        image, label: what is attacked.
        most: how many images it may ask about.
        first: the number of the query of the first wrong image whose change counts.
    """

    def __init__(
        self, classifier: Classifier, image: np.ndarray, label: int, most: int, inside: Inside | None
    ) -> None:
        self.classifier, self.image, self.label, self.most = classifier, image, label, most
        self.first: int | None = None
        self._inside, self._seen = inside, set[bytes]()
        self._wrong: list[tuple[int, float]] = []

    def __call__(self, images: Any) -> np.ndarray:
        """The logits of images `[n, h, w, c]`.

        Raises:
            _FinishedError: the attack is at its end.
        """
        images = np.asarray(images, np.float32).clip(0, 1)
        logits = _logits(self.classifier, images)
        for image, wrong in zip(images, logits.argmax(axis=1) != self.label, strict=True):
            if image.tobytes() in self._seen:
                continue
            if len(self._seen) == self.most:
                raise _FinishedError
            self._seen.add(image.tobytes())
            change = image - self.image
            if wrong:
                self._wrong.append((len(self._seen), float(np.linalg.norm(change))))
            if wrong and self._inside is not None and self._inside(change):
                self.first = len(self._seen)
                raise _FinishedError
        return logits

    def nearest(self, after: int) -> float:
        """The length of the smallest change among the wrong images of the first queries."""
        return min((length for number, length in self._wrong if number <= after), default=np.inf)


@jax.jit
def _score(classifier: Classifier, images: Any) -> Any:
    return classifier.logits(images)


def _logits(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Of any number of images, with few compiled sizes."""
    parts = []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        missing = (1 << (len(part) - 1).bit_length()) - len(part)
        filled = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
        parts.append(np.array(_score(classifier, filled))[: len(part)])
    return np.concatenate(parts)


def _ball(norm: str, epsilon: float) -> Inside:
    order = np.inf if norm == "linf" else 2
    return lambda change: bool(np.linalg.norm(change.ravel(), order) <= epsilon * (1 + _ROUNDING))


def _few_pixels(most: int) -> Inside:
    return lambda change: int(change.any(axis=-1).sum()) <= most


class _Outcome(NamedTuple):
    """Of each image whether it was fooled, and the queries until then."""

    fooled: np.ndarray
    queries: np.ndarray


Peer = Callable[[_Oracle], object]


def _compared(
    name: str, found: Subject, most: int, result: AttackResult, inside: Inside, peers: dict[str, Peer]
) -> Iterator[Row]:
    """A row for evofool's result, and one for each peer."""
    label = f"{name}, {most} queries"
    wrong = _logits(found.classifier, np.asarray(result.images)).argmax(axis=1) != found.labels
    fooled = wrong & np.array([inside(each) for each in np.asarray(result.images) - found.images])
    yield _row(label, "evofool", _Outcome(fooled, np.where(fooled, np.asarray(result.queries), most)))
    for by, attack in peers.items():
        try:
            oracles = list(_asked(found, most, inside, attack))
        except NotInstalledError as error:
            yield {"attack": label, "by": by, "note": str(error)}
            continue
        first = [each.first for each in oracles]
        yield _row(
            label,
            by,
            _Outcome(
                np.array([each is not None for each in first]),
                np.array([most if each is None else each for each in first]),
            ),
        )


def _asked(found: Subject, most: int, inside: Inside | None, attack: Peer) -> Iterator[_Oracle]:
    """What an attack asked about each image, with the number of the image as its seed."""
    for number, (image, label) in enumerate(zip(found.images, found.labels, strict=True)):
        oracle = _Oracle(found.classifier, image, int(label), most, inside)
        np.random.seed(number)  # noqa: NPY002
        with suppress(_FinishedError):
            attack(oracle)
        yield oracle


def _row(name: str, by: str, outcome: _Outcome) -> Row:
    row = {
        "attack": name,
        "by": by,
        "success": round(float(outcome.fooled.mean()), 3),
        "median_queries": float(np.median(outcome.queries)),
        "mean_queries": round(float(outcome.queries.mean()), 1),
    }
    say(f"    {', '.join(map(str, row.values()))}")
    return row


@needs("adversarial-robustness-toolbox")
def _art_model(oracle: _Oracle) -> Any:
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    return BlackBoxClassifierNeuralNetwork(
        oracle,
        oracle.image.shape,
        len(oracle.classifier.spec.class_names),
        channels_first=False,
        clip_values=(0.0, 1.0),
    )


@needs("adversarial-robustness-toolbox")
def _art_square(oracle: _Oracle, options: SquareOptions) -> None:
    from art.attacks.evasion import SquareAttack

    attack = SquareAttack(
        _art_model(oracle),
        norm=np.inf if options.norm == "linf" else 2,
        eps=options.epsilon,
        max_iter=options.max_queries - 2,
        p_init=options.share,
        nb_restarts=1,
        verbose=False,
    )
    attack.generate(oracle.image[None].copy(), np.array([oracle.label]))


@needs("adversarial-robustness-toolbox")
def _art_hop_skip_jump(oracle: _Oracle) -> None:
    from art.attacks.evasion import HopSkipJump

    attack = HopSkipJump(_art_model(oracle), norm=2, max_iter=oracle.most, verbose=False)
    attack.generate(oracle.image[None].copy(), np.array([oracle.label]))


@needs("foolbox")
def _foolbox_hop_skip_jump(oracle: _Oracle) -> None:
    import eagerpy
    import foolbox

    model = foolbox.JAXModel(
        lambda images: jnp.asarray(oracle(images)), bounds=(0, 1), data_format="channels_last"
    )
    attack = foolbox.attacks.HopSkipJumpAttack(steps=oracle.most, constraint="l2")
    attack(
        model,
        eagerpy.astensor(jnp.asarray(oracle.image[None])),
        eagerpy.astensor(jnp.asarray([oracle.label])),
        epsilons=None,
    )


@needs("torchattacks")
def _torch_model(oracle: _Oracle) -> Any:
    import torch

    class Asked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = torch.nn.Parameter(torch.zeros(()))  # tells the attack where to work

        def forward(self, images: Any) -> Any:
            return torch.tensor(oracle(from_torch(images)))

    return Asked()


@needs("torchattacks")
def _torch_square(oracle: _Oracle, options: SquareOptions) -> None:
    import torchattacks

    attack = torchattacks.Square(
        _torch_model(oracle),
        norm={"linf": "Linf", "l2": "L2"}[options.norm],
        eps=options.epsilon,
        n_queries=options.max_queries - 1,
        p_init=options.share,
        seed=int(np.random.randint(2**31)),  # noqa: NPY002
    )
    attack(to_torch(oracle.image[None]), torch_labels([oracle.label]))


@needs("torchattacks")
def _torch_one_pixel(oracle: _Oracle, options: OnePixelOptions) -> None:
    import torchattacks

    generations = -(-options.max_queries // options.population)
    attack = torchattacks.OnePixel(
        _torch_model(oracle), pixels=options.pixels, steps=generations, popsize=options.population
    )
    attack(to_torch(oracle.image[None]), torch_labels([oracle.label]))


def _plain_nes(oracle: _Oracle, options: NESOptions) -> None:
    """Algorithm 1 of Ilyas et al. (ICML 2018), with projected steps along the sign of the estimate."""
    epsilon, sigma = options.epsilon, options.sigma
    assert epsilon is not None
    step = epsilon / 5 if options.step_size is None else options.step_size
    random, here = np.random.default_rng(np.random.randint(2**31)), oracle.image  # noqa: NPY002
    oracle(here[None])
    while True:
        noise = random.standard_normal((options.samples // 2, *here.shape), np.float32)
        noise = np.concatenate([noise, -noise])
        logits = oracle(here + sigma * noise).astype(np.float64)
        others = np.logaddexp.reduce(np.delete(logits, oracle.label, axis=1), axis=1)
        entropy = np.logaddexp(0, others - logits[:, oracle.label])
        gradient = np.tensordot(entropy, noise, axes=1) / (len(noise) * sigma)
        moved = here + step * np.sign(gradient)
        here = moved.clip(oracle.image - epsilon, oracle.image + epsilon).clip(0, 1).astype(np.float32)
        oracle(here[None])
