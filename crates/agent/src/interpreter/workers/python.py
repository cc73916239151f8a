"""The worker of a Python context: runs one piece of code after the other in one namespace.

Descriptor 3 brings orders of the agent, descriptor 4 takes events back; a frame is four bytes of length, the
highest first, and JSON. What the code prints goes to descriptors 1 and 2 like the output of any program, so that
programs it starts and libraries in C are heard too. Runs on every Python from 3.6 on.
"""

import builtins
import io
import json
import os
import select
import signal
import sys
import types

ORDERS = 3
EVENTS = 4
OWN_PID = os.getpid()
FILE_NAME = "<stdin>"

# Characters that may wait for a newline.
BUFFERED = 1024

# Of a message or a traceback; a longer one is cut.
MAX_TEXT = 256 << 10

# Starts of other programs. What was printed before comes before their output.
STARTS = frozenset(("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"))

# The execution that runs now. The agent's interrupts name the one they mean.
current = None


def read_exactly(count):
    pieces = []
    while count:
        piece = os.read(ORDERS, min(count, 1 << 20))
        if not piece:
            os._exit(0)  # The agent is gone.
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def read_order():
    return json.loads(read_exactly(int.from_bytes(read_exactly(4), "big")).decode())


def send_event(**event):
    frame = json.dumps(event).encode()
    frame = len(frame).to_bytes(4, "big") + frame
    while frame:
        frame = frame[os.write(EVENTS, frame):]


def on_sigint(_signal, _frame):
    if current is None:
        return  # For an execution that has ended meanwhile.
    # The agent writes the order before it sends the signal; anybody else sends the signal alone.
    if select.select([ORDERS], [], [], 0)[0] and read_order().get("id") != current:
        return
    raise KeyboardInterrupt


def refuse_input(prompt=""):
    print(prompt, end="", flush=True)
    raise EOFError("input() is not available: an interpreter context has no standard input")


def open_output(descriptor):
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), BUFFERED)
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def restore_outputs():
    """Gives back what code has closed. What it has put in their place stays, as any other state."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name, None)
        if stream is None or getattr(stream, "closed", False):
            stream = open_output(descriptor)
            setattr(sys, name, stream)
            setattr(sys, "__%s__" % name, stream)


def flush(streams=None):
    for stream in streams or (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            pass


def flush_all():
    flush()
    # Libraries in C have buffers of their own. Without ctypes there is hardly one that prints.
    if "ctypes" in sys.modules:
        try:
            sys.modules["ctypes"].CDLL(None).fflush(None)
        except Exception:
            pass


def on_audit(event, _arguments):
    if event in STARTS:
        flush()


def tidy(text):
    """Text that JSON can hold, within bounds."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def message_of(error):
    try:
        return str(error)
    except Exception:
        return "<exception str() failed>"


def last_line(error):
    name, message = type(error).__name__, message_of(error)
    lines = ["%s: %s\n" % (name, message) if message else name + "\n"]
    for note in getattr(error, "__notes__", None) or ():
        lines.append("%s\n" % note)
    return "".join(lines)


def user_frames(trace):
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == FILE_NAME:
            lines.append('  File "%s", line %d, in %s\n' % (FILE_NAME, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    if len(lines) > 40:  # A recursion without end.
        lines[20:-20] = ["  [... %d more frames ...]\n" % (len(lines) - 40)]
    return "".join(lines)


def describe(error, seen=()):
    """The traceback as text: only frames of the user's code, without source lines."""
    if isinstance(error, SyntaxError) and not user_frames(error.__traceback__):
        return last_line(error)
    text = ""
    seen += (error,)
    cause = error.__cause__
    joint = "The above exception was the direct cause of the following exception"
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
        joint = "During handling of the above exception, another exception occurred"
    if cause is not None and cause not in seen and len(seen) < 10:
        text = "%s\n%s:\n\n" % (describe(cause, seen), joint)
    return text + "Traceback (most recent call last):\n" + user_frames(error.__traceback__) + last_line(error)


def report(identity, error):
    try:
        texts = type(error).__name__, message_of(error), describe(error)
    except Exception as failure:  # An exception class that defends itself.
        texts = type(error).__name__, "", "%s\n" % type(failure).__name__
    name, value, trace = map(tidy, texts)
    send_event(kind="error", id=identity, name=name, value=value, traceback=trace)


def end_of_fork(error):
    """A child that user code made by fork() has come here: it must not speak to the agent."""
    if error is not None and not isinstance(error, SystemExit):
        sys.stderr.write(describe(error))
    flush_all()
    code = getattr(error, "code", 1) if error is not None else 0
    os._exit(code if isinstance(code, int) else 1 if code else 0)


def set_env(envs):
    before = {name: os.environ.get(name) for name in envs}
    os.environ.update(envs)
    return before


def restore_env(before):
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def run(order, namespace):
    global current
    identity = order["id"]
    error = None
    before = set_env(order["envs"])
    try:
        try:
            current = identity
            exec(compile(order["code"], FILE_NAME, "exec", dont_inherit=True), namespace)
        finally:
            current = None
    except BaseException as raised:
        error = raised
    current = None
    if os.getpid() != OWN_PID:
        end_of_fork(error)
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        sys.stderr.write(error.code + "\n")
    restore_outputs()
    flush_all()
    restore_env(before)
    if error is not None and not isinstance(error, SystemExit):
        report(identity, error)
    outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "completed"
    send_event(kind="done", id=identity, outcome=outcome)


def main():
    for descriptor in (ORDERS, EVENTS):
        os.set_inheritable(descriptor, False)
    # Closing it, as exit() does, must not free descriptor 0 for somebody else's file.
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = sys.__stdout__ = open_output(1)
    sys.stderr = sys.__stderr__ = open_output(2)
    sys.argv = [""]
    builtins.input = refuse_input
    if hasattr(sys, "addaudithook"):
        sys.addaudithook(on_audit)
    main_module = types.ModuleType("__main__")
    main_module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main_module
    signal.signal(signal.SIGINT, on_sigint)
    while True:
        order = read_order()
        if order["kind"] == "run":
            run(order, main_module.__dict__)


main()
