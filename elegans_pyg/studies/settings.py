"""Settings that several studies share."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from elegans_pyg._settings import Count, Name, Names, Place, Settings, Whole

_REWIRED = ("rewired", "type_rewired", "strength_rewired", "random_rewired")
CYCLIC_FAMILIES = ("ws", "er", "ba", *_REWIRED, "weight_shuffled", "names_shuffled")
"""The families of :data:`elegans_pyg.transforms.FAMILIES` whose wirings may have cycles."""
CONTROL_FAMILIES = (*CYCLIC_FAMILIES, "random_dag")
"""All families but the connectome itself."""


def known_choice(choices: tuple[str, ...], name: str) -> str:
    """Return the name if it is one of the choices; for members of lists, where the error of ``Literal`` would name the position."""
    if name not in choices:
        raise ValueError(f"unknown choice {name!r}; choose from {', '.join(choices)}")
    return name


def some_of(choices: Iterable[str]) -> AfterValidator:
    """Validate a setting that is a list of names: each must be one of ``choices``."""
    known = tuple(choices)
    return AfterValidator(lambda names: tuple(known_choice(known, name) for name in names))


def _controls(choices: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    if "connectome" in names:
        raise ValueError("the connectome itself is always included; leave 'connectome' out of the list")
    return tuple(known_choice(choices, name) for name in names)


Families = Annotated[Names, AfterValidator(partial(_controls, CONTROL_FAMILIES))]
CyclicFamilies = Annotated[Names, AfterValidator(partial(_controls, CYCLIC_FAMILIES))]
Family = Annotated[Name, AfterValidator(lambda name: known_choice(("connectome", *CONTROL_FAMILIES), name))]


def connectomes() -> list[str]:
    """Names of the connectomes of this package."""
    from elegans_pyg.datasets.connectome import Connectome

    return Connectome.names()


def _image_sets() -> tuple[str, ...]:
    from elegans_pyg.datasets.images import IMAGE_SETS

    return IMAGE_SETS


Wiring = Annotated[Name, Place(connectomes)]
"""The name of a connectome, or a file."""
ImageSet = Annotated[Name, Place(_image_sets)]
"""The name of an image set, or a folder."""
OptionalFile = Annotated[Name | None, Place()]


class NeuronSettings(Settings):
    """Names, types and roles of a wiring's neurons."""

    group: ClassVar[str] = "Neurons"

    neurons: OptionalFile = Field(None, description="Table of the neurons of a wiring in a file: names and, if known, types.")
    inputs: Names = Field((), description="Names of the input neurons (default: sensory neurons, or sources if there are none).")
    outputs: Names = Field((), description="Names of the output neurons (default: motor neurons; in DAGs, sinks).")
    sensory: Names = Field((), description="Types that count as sensory, such as ORN,PR.")
    motor: Names = Field((), description="Types that count as motor, such as DN.")

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The neurons chosen, as arguments of :meth:`Connectome.from_edges <elegans_pyg.datasets.Connectome.from_edges>`."""
        return {name: getattr(self, name) for name in ("inputs", "outputs", "sensory", "motor")}


class WiringSettings(NeuronSettings):
    """The connectome and its synapses."""

    group: ClassVar[str] = "Wirings"

    connectome: Wiring = Field(
        "cook2019-hermaphrodite", description="Connectome by name (see info), or a file of edges, a matrix or a graph."
    )
    synapses: Literal["chemical", "electrical", "extrasynaptic", "both"] = Field("chemical", description="Kind of synapses.")
    seed: Whole = Field(0, description="Base of all seeds: wirings, initial parameters, order of the data.")


class ImageSettings(Settings):
    """The images to classify."""

    group: ClassVar[str] = "Images and training"

    dataset: ImageSet = Field("digits", description="Images by name (see info), or a folder of them.")
    image_root: OptionalFile = Field(None, description="Folder with image sets by name; searched before anything is downloaded.")
    train_images: Count | None = Field(None, description="Train on this many of the training images (default: all).")


class FamilyOptions(Settings):
    """Families of nulls and their options."""

    group: ClassVar[str] = "Wirings"

    families: Families = Field(("ws", "er", "ba", "rewired"), description="Families of nulls, such as ws,er,ba,rewired.")
    family_options: dict[str, dict[str, float]] = Field({}, description="Options of a family, such as rewired.fraction=0.5.")

    @model_validator(mode="after")
    def _options_exist(self) -> FamilyOptions:
        check_family_options(self.family_options, self.families)
        return self


def check_some_unit(seeds: int, families: tuple[str, ...]) -> None:
    """Raise ``ValueError`` if there are neither runs of the connectome nor families."""
    if not seeds and not families:
        raise ValueError("seeds: expected at least 1 where there are no families, got 0; raise it or name a family")


def check_family_options(options: dict[str, dict[str, float]], families: tuple[str, ...]) -> None:
    """Check that the options belong to families of the study.

    Raises:
        ValueError: if a family or option is unknown; the message lists the choices.
    """
    if not options:
        return
    from elegans_pyg.transforms import FAMILIES

    for family, values in options.items():
        if family not in families:
            chosen = ", ".join(families) or "none"
            raise ValueError(f"family_options: {family!r} is not among the families of this run ({chosen}); add it to 'families'")
        known = FAMILIES[family].options
        for name in values:
            if name not in known:
                some = ", ".join(known) or "none"
                raise ValueError(f"family_options: {name!r} is not an option of family {family!r}; choose from {some}")


def schedule_for(iterations: int) -> dict[str, int]:
    """Iterations of learning-rate decay, evaluations and checkpoints for a run of this length. The decay is at two thirds, as in Park & Kim
    (10,000 of 15,000 iterations)."""
    return {
        "lr_decay_every": max(1, round(iterations * 2 / 3)),
        "eval_every": max(1, round(iterations / 30)),
        "checkpoint_every": max(1, round(iterations / 15)),
    }


def training_for(given: dict[str, Any], iterations: int, **fixed: Any) -> dict[str, Any]:
    """Training settings with the schedule scaled to the number of iterations given."""
    wanted = given.get("iterations", iterations)
    # A wrong number is refused later, with all the others.
    length = wanted if isinstance(wanted, int) and wanted > 0 else iterations
    return {"iterations": length, **schedule_for(length), "data_seed": given.get("seed", 0), **fixed}
