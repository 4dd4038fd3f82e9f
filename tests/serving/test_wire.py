from decoding.logprobs import TokenLogprob
from decoding.request import Origin, SpeculationCounts
from serving.wire import Load, Output, Routing, Status, StepMessage

STATUS = Status(12, Load(1, 2, 3, 4.567), "ready")


class TestStepMessage:
    def test_what_goes_in_comes_out(self) -> None:
        """Every field survives the trip between the processes."""
        counts = SpeculationCounts(5, 4, 16, 7, [4, 2, 1, 0], 12)
        output = Output("a", [7, 8, 9], [Origin.DRAFT, Origin.LOOKUP, Origin.CORRECTED], "stop", counts)
        plain = Output("b", [1, 2], [Origin.BONUS, Origin.PLAIN], None, SpeculationCounts())
        routings = {"a": Routing("sql", "sql@v1", 0.97, "topic"), "b": Routing(None, "none", None, "asked")}
        message = StepMessage(STATUS, [output, plain], routings, {"c": "it failed"}, {"sql": "sql@v2"}, (0.15, 1.4))
        assert StepMessage.from_json(message.to_json()) == message

    def test_log_probabilities_come_out_to_the_last_bit(self) -> None:
        """With their alternatives, or without any."""
        logprobs = [TokenLogprob(-0.1 / 3, ((7, -0.1 / 3), (9, -1e-45))), TokenLogprob(-700.0)]
        output = Output("a", [7, 8], [Origin.DRAFT, Origin.BONUS], None, SpeculationCounts(), logprobs)
        assert StepMessage.from_json(StepMessage(STATUS, [output]).to_json()).outputs == [output]

    def test_a_message_is_small(self) -> None:
        """It is sent at every step: some two hundred bytes for one request."""
        output = Output(
            "0" * 32, [1234] * 5, [Origin.DRAFT] * 5, None, SpeculationCounts(9, 9, 36, 20, [9, 6, 4, 1], 29)
        )
        assert len(StepMessage(STATUS, [output]).to_json()) < 200
