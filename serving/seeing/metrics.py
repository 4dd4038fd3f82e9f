"""`/metrics`: what was counted, in Prometheus's text format, made when it is asked for."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from serving.seeing.catalogue import CATALOGUE, PREFIX, Kind, Metric
from serving.seeing.tally import BOUNDS, Histogram, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORKER = f"{PREFIX}worker"  # before the names of its process's metrics

Values = Mapping[tuple[str, ...], float]


class Metrics(Collector):
    """Every family of the catalogue, and both processes' memory, time and descriptors.

    Args:
        elsewhere: values now of what the tally does not hold, by stem and labels.
        worker: process id of the worker, once it is known.
    """

    def __init__(self, tally: Tally, elsewhere: Callable[[], Mapping[str, Values]], worker: Callable[[], int | None]):
        self._tally, self._elsewhere = tally, elsewhere
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        # Nothing is read of a process id that is none.
        ProcessCollector(namespace=WORKER, pid=lambda: worker() or "none", registry=self._registry)

    def text(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """All families, those without series too."""
        elsewhere = self._elsewhere()
        for metric in CATALOGUE:
            if metric.kind is Kind.HISTOGRAM:
                yield _histogram(metric, self._tally.histograms[metric.stem])
            elif metric.stem in elsewhere:
                yield _family(metric, elsewhere[metric.stem])
            elif metric.kind is Kind.COUNTER:
                yield _family(metric, self._tally.counters[metric.stem].values)


def _family(metric: Metric, values: Values) -> Family:
    kind = GaugeMetricFamily if metric.kind is Kind.GAUGE else CounterMetricFamily
    family = kind(PREFIX + metric.stem, metric.meaning, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, histogram: Histogram) -> Family:
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    family = HistogramMetricFamily(PREFIX + metric.stem, metric.meaning)
    family.add_metric([], buckets, histogram.sum)
    return family
