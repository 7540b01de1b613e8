#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What Python's own multiprocessing does in the cases of the bench programs.

Run as those are: --list prints the cases, --run INDEX runs one. A case is a peer of
those that have the same case, size, procs and figure.
"""

import concurrent.futures
import ctypes
import json
import multiprocessing as mp
import multiprocessing.sharedctypes
import os
import statistics
import sys
import threading
import time

SECONDS = 0.3
MIB = 1 << 20
WORKERS = 2

CASES = []


def case(name, peer, figure, unit, size=0, procs=1, mode=""):
    """Add a function to the list of cases; it is given the case."""

    def add(function):
        CASES.append((dict(case=name, peer=peer, mode=mode, size=size, procs=procs,
                           figure=figure, unit=unit, goal=None), function))
        return function

    return add


def pin(i):
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [cpus[i % len(cpus)]])


def start(target, *args):
    """A child that dies with this process, should that end badly."""
    child = mp.Process(target=target, args=args, daemon=True)
    child.start()
    return child


def call_seconds(function, batch=1):
    """The median time of a call, in batches."""
    times = []
    now = time.perf_counter()
    end = now + SECONDS
    while now < end:
        before = now
        for _ in range(batch):
            function()
        now = time.perf_counter()
        times.append((now - before) / batch)
    return statistics.median(times)


# Dicts


@case("dict get", "Manager", "calls", "/s")
@case("dict put", "Manager", "calls", "/s")
def manager_dict(this):
    with mp.Manager() as manager:
        shared = manager.dict()
        keys = [b"key %012d" % i for i in range(1024)]
        for key in keys:
            shared[key] = b"0123456789abcdef" * 2
        turn = iter(keys * 100000)
        if this["case"] == "dict get":
            return 1 / call_seconds(lambda: shared[next(turn)], 100)
        return 1 / call_seconds(lambda: shared.update({next(turn): b"what is put" * 3}), 100)


# Locks


PYTHON_LOCKS = {
    "Python mp.Lock": mp.Lock,
    "Python mp.RLock": mp.RLock,
    "Python threading.Lock": threading.Lock,
    "Python threading.RLock": threading.RLock,
}


@case("mutex", "Python mp.Lock", "lock and unlock", "ns")
@case("mutex", "Python mp.RLock", "lock and unlock", "ns")
@case("mutex", "Python threading.Lock", "lock and unlock", "ns")
@case("mutex", "Python threading.RLock", "lock and unlock", "ns")
def lock_free(this):
    lock = PYTHON_LOCKS[this["peer"]]()
    counter = multiprocessing.sharedctypes.RawValue(ctypes.c_uint64)

    def add():
        with lock:
            counter.value += 1

    pin(0)
    return call_seconds(add, 1000) * 1e9


@case("mutex", "Python mp.Lock", "increments", "/s", procs=2)
@case("mutex", "Python mp.Lock", "increments", "/s", procs=4)
@case("mutex", "Python mp.RLock", "increments", "/s", procs=2)
@case("mutex", "Python mp.RLock", "increments", "/s", procs=4)
def lock_busy(this):
    lock = PYTHON_LOCKS[this["peer"]]()
    counter = multiprocessing.sharedctypes.RawValue(ctypes.c_uint64)
    stop = multiprocessing.sharedctypes.RawValue(ctypes.c_int)
    ready = mp.Barrier(this["procs"] + 1)

    def work(i):
        pin(i)
        ready.wait()
        while not stop.value:
            with lock:
                counter.value += 1

    children = [start(work, i) for i in range(this["procs"])]
    ready.wait()
    before = time.perf_counter()
    time.sleep(SECONDS)
    stop.value = 1
    seconds = time.perf_counter() - before
    for child in children:
        child.join()
    return counter.value / seconds


# Events


@case("event", "Python mp.Event", "round trip p50", "ns", procs=2)
@case("event", "Python mp.Event", "round trip p50, same CPU", "ns", procs=2)
def event_round_trip(this):
    there, back = mp.Event(), mp.Event()

    def answer():
        pin(0 if "same" in this["figure"] else 1)
        while True:
            there.wait()
            there.clear()
            back.set()

    def ask():
        there.set()
        back.wait()
        back.clear()

    child = start(answer)
    pin(0)
    seconds = call_seconds(ask)
    child.kill()
    return seconds * 1e9


# Pools


def nothing(i):
    return i


def echo(data):
    return data


def pool_apply(pool):
    return lambda argument, function=nothing: pool.apply(function, (argument,))


def executor_apply(executor):
    return lambda argument, function=nothing: executor.submit(function, argument).result()


def with_pool(function):
    with mp.Pool(WORKERS) as pool:
        pool.apply(nothing, (0,))
        return function(pool)


def with_executor(function):
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as executor:
        executor.submit(nothing, 0).result()
        return function(executor)


POOL = "Python mp.Pool"
EXECUTOR = "Python ProcessPoolExecutor"


@case("pool", POOL, "empty task round trip p50", "us", procs=WORKERS)
def pool_round_trip(this):
    return with_pool(lambda pool: call_seconds(lambda: pool_apply(pool)(1))) * 1e6


@case("pool", EXECUTOR, "empty task round trip p50", "us", procs=WORKERS)
def executor_round_trip(this):
    return with_executor(lambda executor: call_seconds(lambda: executor_apply(executor)(1))) * 1e6


def rate(run, n):
    """Tasks in a second: run(n) again and again."""
    done = 0
    before = time.perf_counter()
    while True:
        run(n)
        done += n
        seconds = time.perf_counter() - before
        if seconds >= SECONDS:
            return done / seconds


@case("pool", POOL, "tiny tasks, one by one", "/s", procs=WORKERS)
def pool_tasks(this):
    def run(pool, n):
        results = [pool.apply_async(nothing, (i,)) for i in range(n)]
        assert sum(r.get() for r in results) == n * (n - 1) // 2

    return with_pool(lambda pool: rate(lambda n: run(pool, n), 2000))


@case("pool", EXECUTOR, "tiny tasks, one by one", "/s", procs=WORKERS)
def executor_tasks(this):
    def run(executor, n):
        futures = [executor.submit(nothing, i) for i in range(n)]
        assert sum(f.result() for f in futures) == n * (n - 1) // 2

    return with_executor(lambda executor: rate(lambda n: run(executor, n), 2000))


# Both have a default chunk size; the executor's is 1, which is "one by one" again.
@case("pool", POOL, "tiny tasks, map", "/s", procs=WORKERS, mode="default chunks")
def pool_map(this):
    def run(pool, n):
        assert sum(pool.map(nothing, range(n))) == n * (n - 1) // 2

    return with_pool(lambda pool: rate(lambda n: run(pool, n), 20000))


@case("pool", EXECUTOR, "tiny tasks, map", "/s", procs=WORKERS, mode="chunks of 1000")
def executor_map(this):
    def run(executor, n):
        assert sum(executor.map(nothing, range(n), chunksize=1000)) == n * (n - 1) // 2

    return with_executor(lambda executor: rate(lambda n: run(executor, n), 20000))


@case("pool", POOL, "there and back p50", "us", size=MIB, procs=WORKERS)
def pool_echo(this):
    data = os.urandom(MIB)
    return with_pool(lambda pool: call_seconds(lambda: pool_apply(pool)(data, echo))) * 1e6


@case("pool", EXECUTOR, "there and back p50", "us", size=MIB, procs=WORKERS)
def executor_echo(this):
    data = os.urandom(MIB)
    return with_executor(
        lambda executor: call_seconds(lambda: executor_apply(executor)(data, echo))) * 1e6


@case("pool", POOL, "start to first result", "ms", procs=WORKERS)
def pool_start(this):
    return call_seconds(lambda: with_pool(lambda pool: None)) * 1e3


@case("pool", EXECUTOR, "start to first result", "ms", procs=WORKERS)
def executor_start(this):
    return call_seconds(lambda: with_executor(lambda executor: None)) * 1e3


# Queues


def connect(kind):
    """Two one-way channels as (put, get) pairs: one there, one back."""
    if kind == "Pipe":
        return [(tx.send_bytes, rx.recv_bytes) for rx, tx in (mp.Pipe(False), mp.Pipe(False))]
    make = mp.Queue if kind == "Queue" else mp.SimpleQueue
    return [(q.put, q.get) for q in (make(), make())]


def round_trip(kind, size, cpu=1):
    (put, seen), (reply, get) = connect(kind)
    data = os.urandom(size)

    def partner():
        pin(cpu)
        while True:
            reply(seen())

    def ping():
        put(data)
        get()

    child = start(partner)
    pin(0)
    seconds = call_seconds(ping)
    child.kill()
    return seconds * 1e6


def stream(kind, size, putters, getters):
    """Messages in a second: what the getters count."""
    put, get = connect(kind)[0]
    data = os.urandom(size)
    counts = multiprocessing.sharedctypes.RawArray(ctypes.c_uint64, getters)
    ready = mp.Barrier(putters + getters + 1)

    def putter(i):
        pin(i)
        ready.wait()
        while True:
            put(data)

    def getter(i):
        pin(putters + i)
        ready.wait()
        while True:
            get()
            counts[i] += 1

    children = [start(putter, i) for i in range(putters)]
    children += [start(getter, i) for i in range(getters)]
    ready.wait()
    time.sleep(SECONDS / 10)  # Queue's threads start
    before, count = time.perf_counter(), sum(counts)
    time.sleep(SECONDS)
    seconds, count = time.perf_counter() - before, sum(counts) - count
    for child in children:
        child.kill()
    return count / seconds


for peer in "Pipe", "Queue":
    for bytes_each in 64, 1024, MIB:
        case("queue", "Python mp." + peer, "round trip p50", "us", bytes_each, 2)(
            lambda this, kind=peer: round_trip(kind, this["size"]))
    case("queue", "Python mp." + peer, "round trip p50, same CPU", "us", 64, 2)(
        lambda this, kind=peer: round_trip(kind, this["size"], 0))
    case("queue", "Python mp." + peer, "stream", "/s", 64, 2)(
        lambda this, kind=peer: stream(kind, this["size"], 1, 1))
    case("queue", "Python mp." + peer, "stream", "GB/s", MIB, 2)(
        lambda this, kind=peer: stream(kind, this["size"], 1, 1) * this["size"] / 1e9)
for peer in "SimpleQueue", "Queue":
    case("queue", "Python mp." + peer, "two putters, two getters", "/s", 64, 4)(
        lambda this, kind=peer: stream(kind, this["size"], 2, 2))


# Lists


LIST_ITEMS = 1000


@case("list get", "Python Manager().list()", "call", "ns")
@case("list set", "Python Manager().list()", "call", "ns")
@case("list append", "Python Manager().list()", "call", "ns")
@case("list append, pop first", "Python Manager().list()", "call", "ns")
@case("list append, pop first", "Python Manager().list()", "call", "ns", size=100)
@case("list insert, delete in 1,000", "Python Manager().list()", "call", "ns")
def manager_list(this):
    item = bytes(this["size"]) if this["size"] else 7

    def put():
        shared[LIST_ITEMS // 2] = item

    def turn():
        shared.append(item)
        shared.pop(0)

    def insert():
        shared.insert(LIST_ITEMS // 2, item)
        del shared[LIST_ITEMS // 2]

    calls = {"list get": lambda: shared[LIST_ITEMS // 2], "list set": put,
             "list append": lambda: shared.append(item), "list append, pop first": turn,
             "list insert, delete in 1,000": insert}
    with mp.Manager() as manager:
        shared = manager.list(range(LIST_ITEMS))
        return call_seconds(calls[this["case"]], 100) * 1e9


# What else a Manager has


MANAGER = "Python Manager"
ARRAY_ITEMS = 1024


@case("value += under its lock", MANAGER, "a call", "ns")
@case("array get", MANAGER, "a call", "ns")
@case("array store", MANAGER, "a call", "ns")
@case("array copy out", MANAGER, "a call", "ns", size=8 * ARRAY_ITEMS)
@case("namespace get", MANAGER, "a call", "ns")
@case("namespace set", MANAGER, "a call", "ns")
@case("queue put, get", MANAGER, "a call", "ns", size=64)
@case("lock, unlock", MANAGER, "a call", "ns")
def manager_others(this):
    def add():
        with lock:
            value.value += 1

    def store():
        array[7] = 7

    def namespace_set():
        namespace.x = 7

    def put_and_get():
        queue.put(message)
        queue.get()

    def lock_and_unlock():
        with lock:
            pass

    calls = {"value += under its lock": add, "array get": lambda: array[7],
             "array store": store, "array copy out": lambda: array[:],
             "namespace get": lambda: namespace.x, "namespace set": namespace_set,
             "queue put, get": put_and_get, "lock, unlock": lock_and_unlock}
    message = bytes(this["size"])
    with mp.Manager() as manager:
        lock, value, namespace = manager.Lock(), manager.Value("q", 0), manager.Namespace(x=7)
        array, queue = manager.Array("q", range(ARRAY_ITEMS)), manager.Queue()
        return call_seconds(calls[this["case"]], 100) * 1e9


@case("value += under its lock", "Python mp.Value", "a call", "ns")
@case("array get", "Python mp.Array", "a call", "ns")
@case("array store", "Python mp.Array", "a call", "ns")
@case("array copy out", "Python mp.Array", "a call", "ns", size=8 * ARRAY_ITEMS)
def shared_cells(this):
    value, array = mp.Value("q", 0), mp.Array("q", range(ARRAY_ITEMS))

    def add():
        with value.get_lock():
            value.value += 1

    def store():
        array[7] = 7

    calls = {"value += under its lock": add, "array get": lambda: array[7],
             "array store": store, "array copy out": lambda: array[:]}
    return call_seconds(calls[this["case"]], 100) * 1e9


def main():
    if sys.argv[1:] == ["--list"]:
        for this, _ in CASES:
            print(json.dumps(this))
    elif len(sys.argv) == 3 and sys.argv[1] == "--run":
        this, function = CASES[int(sys.argv[2])]
        print("%.9g" % function(this), flush=True)
        # A killed getter leaves Queue's locks taken: no orderly exit.
        os._exit(0)
    else:
        sys.exit("usage: peer_python.py --list | --run INDEX")


if __name__ == "__main__":
    main()
