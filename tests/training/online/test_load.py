import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import pytest

from configs.errors import ServerError
from training.online.load import HealthLoad, Load, LoadMeter, Sample, Stopped, Throttle


class FakeServer:
    """A clock that moves by a second a look, and a server that is as busy as the script says."""

    def __init__(self, script):
        self.script, self.looks, self.now, self.busy = list(script), 0, 0.0, 0.0

    def clock(self):
        return self.now

    def sample(self):
        share, waiting = self.script[min(self.looks, len(self.script) - 1)]
        self.looks, self.now, self.busy = self.looks + 1, self.now + 1, self.busy + share
        return Sample(int(share > 0), waiting, self.busy)


def meter(server):
    return LoadMeter(server, server.clock)


class TestLoadMeter:
    def test_utilisation_is_the_share_of_time_that_steps_took_lately(self):
        """Over the last five seconds, however busy the time before was."""
        server = FakeServer([(1.0, 0)] * 10 + [(0.2, 0)] * 10)
        found = meter(server)
        readings = [found.read().utilisation for _ in range(20)]
        assert readings[9] == pytest.approx(1.0)
        assert readings[19] == pytest.approx(0.2)

    def test_the_first_look_goes_by_what_runs(self):
        """One look shows no share of time."""
        assert meter(FakeServer([(0.0, 0)])).read() == Load(0, 0.0)
        assert meter(FakeServer([(0.3, 2)])).read() == Load(2, 1.0)

    def test_it_asks_twice_a_second_at_most(self):
        """A step of a tiny draft takes less than an answer of the server."""
        server = FakeServer([(0.0, 0)])
        found = LoadMeter(server, lambda: 7.0)
        for _ in range(100):
            found.read()
        assert server.looks == 1

    def test_a_server_that_started_anew_is_no_negative_load(self):
        """Its seconds begin at nought again."""
        samples = iter([Sample(1, 0, 50.0), Sample(1, 0, 51.0), Sample(0, 0, 0.1), Sample(0, 0, 0.1)])
        times = iter(range(10))

        class Restarted:
            def sample(self):
                return next(samples)

        found = LoadMeter(Restarted(), lambda: float(next(times)))
        assert [found.read().utilisation for _ in range(4)] == [1.0, 1.0, 0.0, 0.0]

    def test_where_nobody_serves_there_is_nobody_to_disturb(self):
        """No server, no load."""

        class Nobody:
            def sample(self):
                return None

        assert LoadMeter(Nobody()).read().is_low(0.1)


class TestThrottle:
    def test_it_pauses_while_load_is_high_and_goes_on_when_it_is_low(self):
        """Waiting requests and long steps both count; both ends are told."""
        server = FakeServer([(0.9, 0)] * 3 + [(0.1, 2)] * 6 + [(0.1, 0)] * 9)
        said = []
        throttle = Throttle(meter(server), 0.5, say=said.append, seconds=0)
        throttle()
        assert server.looks >= 10
        assert len(said) == 2
        assert said[0].startswith("pausing: steps take 100%")
        assert said[1].startswith("going on")
        throttle()
        assert len(said) == 2, "low load is nothing to talk about"

    def test_it_ends_in_mid_pause_when_told_to(self):
        """A server that is always busy does not keep the learner from ending."""
        stop = Event()
        throttle = Throttle(meter(FakeServer([(1.0, 5)])), 0.5, stop, say=lambda _: stop.set(), seconds=0)
        with pytest.raises(Stopped):
            throttle()
        with pytest.raises(Stopped):
            throttle.sleep(60)


def answering(body):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)  # /health says so while the router loads
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


class TestHealthLoad:
    @pytest.mark.parametrize("ready", [True, False])
    def test_it_reads_what_the_server_says(self, ready):
        """Whether it says that it is ready or not."""
        document = {"status": "ready" if ready else "starting", "running": 2, "waiting": 1, "step_seconds": 3.5}
        with answering(json.dumps(document).encode()) as server:
            Thread(target=server.handle_request).start()
            assert HealthLoad(f"http://127.0.0.1:{server.server_port}/").sample() == Sample(2, 1, 3.5)

    def test_another_server_is_an_error(self):
        """Else training would never pause."""
        with answering(b'{"status": "fine"}') as server:
            Thread(target=server.handle_request).start()
            with pytest.raises(ServerError, match="not a polydraft server"):
                HealthLoad(f"http://127.0.0.1:{server.server_port}").sample()

    def test_nobody_there_is_no_load(self):
        """A closed port."""
        with answering(b"") as server:
            port = server.server_port
        assert HealthLoad(f"http://127.0.0.1:{port}").sample() is None
