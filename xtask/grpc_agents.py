"""Agents over gRPC, with the public client (grpcio), against the real binary: tasks are submitted, taken, done and looked at; errors have their codes.

Run by `cargo xtask test --only grpc`: BINARY FOLDER. Prints a JSON object of what was seen, and ends with 1 at the first thing that is not as it should be.
"""

import json
import os
import pathlib
import subprocess
import sys
import threading

import grpc

TASKS, AGENTS = 300, 4
protos, services = grpc.protos_and_services("csf/tasks/v1/tasks.proto")


def check(claim, seen):
    if not claim:
        sys.exit(f"not as it should be: {seen}")


def refused(code, csf_code, words, call, request, **options):
    """The call fails with this status and this code of ours."""
    try:
        answer = call(request, **options)
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        seen = (error.code(), metadata.get("csf-code"), error.details())
        check(seen[:2] == (code, csf_code) and words in seen[2], seen)
        check(csf_code is None or metadata.get("csf-help"), metadata)
        return
    sys.exit(f"{request} was answered: {answer}")


def start(binary, folder):
    config = folder / "csf.toml"
    config.write_text('[node]\nname = "grpc"\n')
    state = os.environ | {"CSF_STATE": str(folder)}
    words = [binary, "up", "--config", config, "--journal", folder / "journal", "--listen", "127.0.0.1:0"]
    node = subprocess.Popen(words, env=state, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = node.stdout.readline().removeprefix("console").strip().removeprefix("http://").split("/")[0]
    token = json.loads((folder / "nodes" / f"{node.pid}.json").read_text())["token"]
    return node, address, token


def flow(stub, bearer):
    """A task from its submission to its end."""
    task = stub.Submit(protos.SubmitRequest(kind="upper", input='"quiet"', id="one", priority=2), metadata=bearer)
    again = stub.Submit(protos.SubmitRequest(kind="upper", input='"quiet"', id="one", priority=2), metadata=bearer)
    check(task.id == again.id == "one", (task, again))
    lease = stub.Take(protos.TakeRequest(agent="a", kinds=["upper"]), metadata=bearer).leases[0]
    check((lease.id, lease.input, lease.attempt) == ("one", '"quiet"', 1), lease)
    beat = protos.HeartbeatRequest(id="one", token=lease.token, progress='{"share":0.5}')
    check(stub.Heartbeat(beat, metadata=bearer).lease_ms == 30_000, "the lease")
    seen = stub.Get(protos.GetRequest(id="one"), metadata=bearer)
    check((seen.state, seen.assigned_agent, seen.progress) == (protos.TASK_STATE_RUNNING, "a", '{"share":0.5}'), seen)
    done = protos.CompleteRequest(id="one", token=lease.token, output='"QUIET"')
    stub.Complete(done, metadata=bearer)
    stub.Complete(done, metadata=bearer)
    seen = stub.Get(protos.GetRequest(id="one"), metadata=bearer)
    check((seen.state, seen.output, seen.priority) == (protos.TASK_STATE_COMPLETED, '"QUIET"', 2), seen)

    stub.Submit(protos.SubmitRequest(kind="upper", id="two", attempts=2), metadata=bearer)
    take = protos.TakeRequest(agent="a", kinds=["upper"])
    lease = stub.Take(take, metadata=bearer).leases[0]
    stub.Release(protos.ReleaseRequest(id="two", token=lease.token), metadata=bearer)
    lease = stub.Take(take, metadata=bearer).leases[0]
    check(lease.attempt == 1, "one that was released does not count")
    stub.Fail(protos.FailRequest(id="two", token=lease.token, reason="no ink", is_final=True), metadata=bearer)
    seen = stub.Get(protos.GetRequest(id="two"), metadata=bearer)
    check((seen.state, seen.error) == (protos.TASK_STATE_FAILED, "no ink"), seen)
    stub.Submit(protos.SubmitRequest(kind="upper", id="three"), metadata=bearer)
    stub.Cancel(protos.CancelRequest(id="three", reason="not needed"), metadata=bearer)
    check(stub.Get(protos.GetRequest(id="three"), metadata=bearer).state == protos.TASK_STATE_CANCELLED, "cancelled")


def errors(stub, channel, bearer):
    """What cannot be done, and how it is said."""
    code = grpc.StatusCode
    get, one = protos.GetRequest(id="one"), protos.HeartbeatRequest(id="one", token="none")
    refused(code.UNAUTHENTICATED, "CSF-0301", "token", stub.Get, get)
    refused(code.UNAUTHENTICATED, "CSF-0301", "token", stub.Get, get, metadata=[("authorization", "Bearer wrong")])
    refused(code.NOT_FOUND, "CSF-0315", "`none`", stub.Get, protos.GetRequest(id="none"), metadata=bearer)
    refused(code.FAILED_PRECONDITION, "CSF-0316", "`one`", stub.Heartbeat, one, metadata=bearer)
    for request, words in [
        (protos.SubmitRequest(kind=""), "1 to 128 bytes"),
        (protos.SubmitRequest(kind="x", lease_ms=1), "100..=86400000"),
        (protos.SubmitRequest(kind="x", priority=6), "1..=5"),
        (protos.SubmitRequest(kind="x", priority=300), "1..=5"),
        (protos.SubmitRequest(kind="x", fairness_weight=0), "0.001..=1000"),
        (protos.SubmitRequest(kind="x", input="{"), "`input` is no JSON text"),
    ]:
        refused(code.INVALID_ARGUMENT, "CSF-0305", words, stub.Submit, request, metadata=bearer)
    late = protos.TakeRequest(agent="a", kinds=["x"], wait_ms=60_001)
    refused(code.INVALID_ARGUMENT, "CSF-0307", "0..=60000", stub.Take, late, metadata=bearer)
    for path in ["/csf.tasks.v1.Tasks/Nothing", "/csf.nothing.v1.Nothing/Nothing"]:
        call = channel.unary_unary(path, lambda request: request.SerializeToString(), lambda answer: answer)
        refused(code.UNIMPLEMENTED, None, "", call, get, metadata=bearer)
    large = protos.SubmitRequest(kind="x", input=json.dumps("x" * (1 << 20)))
    refused(code.OUT_OF_RANGE, None, "1048576", stub.Submit, large, metadata=bearer)


def many(stub, address, bearer):
    """Agents that wait before there is anything, each on a connection of its own."""
    taken = []

    def agent(name):
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            own = services.TasksStub(channel)
            while True:
                ask = protos.TakeRequest(agent=name, kinds=["square"], max=5, wait_ms=20_000)
                for lease in own.Take(ask, metadata=bearer).leases:
                    number = json.loads(lease.input)
                    answer = protos.CompleteRequest(id=lease.id, token=lease.token, output=json.dumps(number**2))
                    own.Complete(answer, metadata=bearer)
                    if number == 0:
                        return
                    taken.append((name, number))

    agents = [threading.Thread(target=agent, args=(f"agent-{n}",)) for n in range(AGENTS)]
    for thread in agents:
        thread.start()
    ids = {n: stub.Submit(protos.SubmitRequest(kind="square", input=str(n)), metadata=bearer).id for n in range(1, TASKS + 1)}
    # The last ones, for the agents to end by.
    for _ in agents:
        stub.Submit(protos.SubmitRequest(kind="square", input="0", priority=5), metadata=bearer)
    for thread in agents:
        thread.join()
    check(sorted(n for _, n in taken) == list(range(1, TASKS + 1)), "each is taken once")
    for number, task in ids.items():
        seen = stub.Get(protos.GetRequest(id=task), metadata=bearer)
        check((seen.state, seen.output) == (protos.TASK_STATE_COMPLETED, str(number**2)), seen)
    return len({name for name, _ in taken})


def main():
    folder = pathlib.Path(sys.argv[2])
    node, address, token = start(sys.argv[1], folder)
    bearer = [("authorization", f"Bearer {token}")]
    try:
        with grpc.insecure_channel(address) as channel:
            stub = services.TasksStub(channel)
            flow(stub, bearer)
            errors(stub, channel, bearer)
            agents = many(stub, address, bearer)
            # Who waits for nothing keeps no stop waiting.
            waits = stub.Take.future(protos.TakeRequest(agent="a", kinds=["none"], wait_ms=60_000), metadata=bearer)
            stub.Get(protos.GetRequest(id="one"), metadata=bearer)
            node.terminate()
            check(waits.code() == grpc.StatusCode.UNAVAILABLE, (waits.code(), waits.details()))
            check(node.wait(30) == 0, "the node's end")
        print(json.dumps({"grpcio": grpc.__version__, "tasks": TASKS, "agents": agents}))
    finally:
        node.kill()


main()
