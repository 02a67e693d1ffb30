"""Spans of requests and jobs, exported by OTLP over HTTP to a collector in this process."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import Serve
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from served import IMAGE


class Collector(HTTPServer):
    """Keeps the spans that are sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Collecting)
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.paths: set[str] = set()


class Collecting(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.paths.add(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            request = ExportTraceServiceRequest()
            request.ParseFromString(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            for resource in request.resource_spans:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.server.services.add(named["service.name"])
                for scope in resource.scope_spans:
                    self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not on stderr."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
        yield server
        server.shutdown()
        thread.join()


def test_a_job_is_part_of_its_requests_trace(collector: Collector, serve: Serve) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with serve(dummy_step_s=0.002) as client:
        headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        job = client.post("/v1/jobs", json=IMAGE, headers=headers).json()["id"]
        client.until_done(job)
        client.get("/healthz")
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == trace_id}
    assert {"POST /v1/jobs", "job", "job queue", "job run"} <= set(spans)
    whole = spans["job"]
    by_id = {span.span_id: span for span in spans.values()}
    endpoint = by_id[whole.parent_span_id]
    assert by_id[endpoint.parent_span_id].name == "POST /v1/jobs"
    assert spans["job run"].parent_span_id == whole.span_id
    told = {one.key: one.value for one in whole.attributes}
    assert told["job.id"].string_value == job
    assert told["job.status"].string_value == "succeeded"
    assert told["job.batch"].int_value == 1
    assert spans["job queue"].end_time_unix_nano == spans["job run"].start_time_unix_nano
    assert whole.end_time_unix_nano - whole.start_time_unix_nano > 9 * 2e6  # nine steps of 2 ms
    assert collector.services == {"skipstep"}
    assert not [span.name for span in collector.spans if "healthz" in span.name or "readyz" in span.name]


def test_nothing_is_sent_where_nothing_is_set(
    collector: Collector, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    with serve() as client:
        client.until_done(client.job()["id"])
    assert collector.paths == set()
