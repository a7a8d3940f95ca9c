"""Behaviours for which reduced-order models are fitted: which neurons are driven, and which are recorded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """Neurons that get a current, neurons whose voltage is recorded, and why these (``reason``).

    Attributes:
        inputs: groups of neurons; those of a group get the same shape of current, since the left and right cell of a class are touched and
            driven together.
        outputs, ablate: the recorded neurons; classes that are removed with all their synapses.
        amplitude_pA: the largest current, chosen so that the response of every neuron is graded. Above it the inputs fire (PLM at 5 pA),
            and further above (between 5 and 8 pA into PLM and AVB, 1.5 and 3 pA into IL2) most of the network of ``c302-C1`` fires at once
            and stays depolarised for hundreds of ms, whatever the current does.
    """

    name: str
    inputs: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    amplitude_pA: float
    reason: str
    ablate: tuple[str, ...] = ()

    @property
    def input_names(self) -> list[str]:
        return [name for group in self.inputs for name in group]

    @property
    def groups(self) -> list[int]:
        return [len(group) for group in self.inputs]


_PLM, _AVB = ("PLML", "PLMR"), ("AVBL", "AVBR")
_FCM = ("DB1", "LUAL", "PVR", "VB1")
_FCM16 = (*_FCM, "DB2", "DB3", "DB4", "DB5", "DB6", "DB7", "VB2", "VB3", "VB4", "LUAR", "PVCL", "PVCR")
_HEAD = ("RMED", "RMEL", "RMER", "RMEV", "RMDDL", "RMDDR", "RMDVL", "RMDVR", "URADL", "URADR", "URAVL", "URAVR")

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("fcm", (_PLM, _AVB), _FCM, 2.0,
            "Forward crawling (Barbulescu et al. 2023): PLM senses touch at the tail and AVB commands forward movement; DB1 and VB1 are the"
            " first of the motor neurons that drive it, LUA and PVR interneurons next to PLM."),
        Scenario("fcm16", (_PLM, _AVB), _FCM16, 2.0,
            "Forward crawling watched more widely: the paper does not name its 16 outputs. Those of fcm, the other DB and three more VB"
            " motor neurons, LUAL's partner LUAR, and PVC, the second command interneuron of forward movement."),
        Scenario("fcm-no-avb", (_PLM,), _FCM, 2.0,
            "Forward crawling of a worm without AVB: what is left of the command is what reaches the motor neurons from PLM by PVC.",
            ("AVB",)),
        Scenario("fcm-no-ava", (_PLM, _AVB), _FCM, 2.0,
            "Forward crawling of a worm without AVA, the command interneurons of backward movement: it should change little.", ("AVA",)),
        Scenario("nictation", (("IL2DL", "IL2DR"), ("IL2L", "IL2R"), ("IL2VL", "IL2VR")), _HEAD, 1.5,
            "Nictation, waving the raised head: it needs the six IL2 sensory neurons (Lee et al. 2012, doi:10.1038/nn.2975). The paper does"
            " not name its 12 outputs: RME, RMD and URA here, four of each, motor neurons of the muscles of head and neck (White et al."
            " 1986, doi:10.1098/rstb.1986.0056)."),
    )
}  # fmt: skip
"""The scenarios by name."""
