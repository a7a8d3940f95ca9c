"""The neuron types that every wiring uses; ``neuron_type`` of a ``Data`` indexes this tuple."""

NEURON_TYPES = ("sensory", "inter", "motor", "pharyngeal", "sex-specific", "other")
SENSORY = NEURON_TYPES.index("sensory")
