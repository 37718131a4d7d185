# SPDX-License-Identifier: MIT
"""Weft in gdb: loops, groups and tasks of a process or of its core file.

    gdb -x tools/weft-gdb.py PROGRAM CORE      (or -p PID)
    (gdb) weft tree              what runs, and what it waits for
    (gdb) weft bt 17             the backtrace of task #17, in every loop that has one
    (gdb) weft bt 2.17           ... of loop 2 only, as numbered by `weft tree`
    (gdb) weft select 17         `bt`, `frame`, `up`, `info locals` now show that task, above the
                                 frame where the thread really stands
    (gdb) weft select            back to the thread itself

The library needs debug information. A core written by the kernel has all stacks; gcore stops
reading a slab of stacks at its first guard, unless the process ran with WEFT_STACK_GUARD=mprotect.

A parked task's registers are in the save area that its context
points to, laid out as the heads of src/rt/ctx_x86_64.S and ctx_aarch64.S say. A core's registers
cannot be set, so the script brings an unwinder, which says that the newest frame was called by the
task; that works in a live process, too, and changes nothing in it.
"""
import gdb
import gdb.unwinder

# name in gdb: offset in the save area; and how long that is
SAVE_AREAS = {
    "i386:x86-64": (64, "rsp", {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48,
                                "rip": 56}),
    "aarch64": (176, "sp", {"x29": 0, "x30": 8, "pc": 8,
                            **{f"x{n}": 16 + 8 * (n - 19) for n in range(19, 29)}}),
}
NEVER = 2**63 - 1
FLOW_TASK, FLOW_THREAD = 0, 1
DEPTH_MAX = 200


# --- Reading structures ---------------------------------------------------------------------------

def offset_of(kind, path):
    """The offset of a member, such as "flow.member", in bytes."""
    at = 0
    for name in path.split("."):
        field = next(field for field in kind.fields() if field.name == name)
        at += field.bitpos // 8
        kind = field.type.strip_typedefs()
    return at


def container(pointer, kind, path):
    """The structure that has this member."""
    found = gdb.lookup_type(kind)
    address = int(pointer) - offset_of(found, path)
    return gdb.Value(address).cast(found.pointer()).dereference()


def each(head, kind, path):
    """The structures in a list."""
    node = head["head"]["next"]
    while int(node) not in (0, int(head["head"].address)):
        yield container(node, kind, path)
        node = node["next"]


def text(pointer):
    """A C string."""
    return pointer.string("utf-8", "replace") if int(pointer) else "?"


def open_loops():
    """(number, loop) of all that are open."""
    try:
        head = gdb.parse_and_eval("weft__debug_loops")
        loops = list(each(head, "struct weft_loop", "debug_link"))
    except gdb.error as error:
        raise gdb.GdbError(f"no loops to be found; has libweft debug information? ({error})")
    return list(enumerate(loops, 1))


# --- The tree -------------------------------------------------------------------------------------

def wait_of(flow, now_ns):
    """What a flow does, in words."""
    wait = flow["wait"]
    if not int(wait) or bool(wait["ended"]):
        return None
    said = f"waits in {text(wait['what'])}"
    if int(wait["fd"]) >= 0:
        said += f" fd {int(wait['fd'])}"
    if int(wait["until_ns"]) != NEVER and int(wait["until_ns"]) != 0 and now_ns:
        said += f", {max(int(wait['until_ns']) - now_ns, 0) / 1e9:.3f} s left"
    return said


def flags_of(flow):
    """What else there is to say of it."""
    said = ", canceled" if bool(flow["canceled"]) else ""
    return said + (", shielded" if int(flow["shields"]) else "")


class Tree:
    """Prints one loop."""

    def __init__(self, number, loop):
        self.loop = loop
        self.now_ns = int(loop["now_ns"])
        tasks = int(loop["tasks_live"])
        driver = text(loop["sys"]["driver"]["name"])
        print(f"loop {number} {text(loop['options']['name'])} ({driver}), {tasks} tasks, "
              f"{int(loop['turns'])} turns")
        self.members(loop["root"], 1)
        for group in each(loop["callback"]["groups"], "struct weft_group", "link"):
            if int(group.address) != int(loop["root"].address) and not int(group["emptied"]):
                self.group(group, 1)

    def line(self, depth, words):
        print("  " * min(depth, 40) + words)

    def members(self, group, depth):
        if depth > DEPTH_MAX:
            self.line(depth, "... what lies deeper is not shown")
            return
        try:
            for member in each(group["members"], "struct weft__member", "link"):
                self.member(member, depth)
        except gdb.MemoryError as error:
            self.line(depth, f"... {error}")

    def group(self, group, depth):
        said = f"group of {int(group['live'])}"
        if int(group["deadline_ns"]) != NEVER:
            said += f", {max(int(group['deadline_ns']) - self.now_ns, 0) / 1e9:.3f} s left"
        self.line(depth, said + (", canceled" if bool(group["canceled"]) else ""))
        self.members(group, depth + 1)

    def flow(self, kind, flow, depth):
        name = f"{kind} {text(flow['name'])}"
        if int(flow["kind"]) == FLOW_TASK:
            task = container(flow.address, "struct weft__task", "flow")
            name += f" #{int(flow['id'])}"
            state = wait_of(flow, self.now_ns) or (
                "runs" if int(self.loop["running"]) == int(task.address) else
                "ready" if bool(task["begun"]) else "not begun yet")
            stack = task["stack"]
            state += f", stack {int(stack['lo']):#x}-{int(stack['hi']):#x}"
        else:
            thread = container(flow.address, "struct weft__thread", "flow")
            inner = thread["inner"]
            state = wait_of(flow, self.now_ns) or (
                f"runs loop {text(inner['options']['name'])}" if int(inner) else "running")
            state += f", pthread {int(thread['id']):#x}"
        self.line(depth, f"{name} ({text(flow['site'])}) {state}{flags_of(flow)}")
        for group in each(flow["groups"], "struct weft_group", "link"):
            self.group(group, depth + 1)

    def member(self, member, depth):
        kind = text(member["cls"]["kind"])
        if kind in ("task", "thread"):
            flow = container(member.address, "struct weft__flow", "member")
            self.flow(kind, flow, depth)
        elif kind == "server":
            worker = container(member.address, "struct weft__worker", "member")
            state = "draining" if bool(worker["stopping"]) else "accepting"
            self.line(depth, f"server {worker['server']['endpoint'].string()} worker "
                             f"{int(worker['index'])} fd {int(worker['fd'])}, {state}, "
                             f"{int(worker['conns']['live'])} connections")
            self.members(worker["conns"], depth + 1)
        elif kind == "connection":
            transport = container(member.address, "struct weft__transport", "member")
            stream = transport["s"]
            self.line(depth, f"connection fd {int(stream['fd'])}, in {int(stream['bytes_in'])} "
                             f"out {int(stream['bytes_out'])}")
        else:
            self.line(depth, kind)


# --- Tasks ----------------------------------------------------------------------------------------

def tasks_below(group, depth=0):
    """All tasks in a group and below."""
    for member in each(group["members"], "struct weft__member", "link"):
        kind = text(member["cls"]["kind"])
        if kind == "server":
            worker = container(member.address, "struct weft__worker", "member")
            yield from tasks_below(worker["conns"], depth)
        if kind != "task":
            continue
        yield container(member.address, "struct weft__task", "flow.member")
        flow = container(member.address, "struct weft__flow", "member")
        if depth < DEPTH_MAX:
            for inner in each(flow["groups"], "struct weft_group", "link"):
                yield from tasks_below(inner, depth + 1)


def find_tasks(words):
    """(loop, task) of "17" or "2.17"."""
    try:
        parts = [int(part) for part in words.split(".")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise gdb.GdbError("which task? Give its number, 17, or with the loop's, 2.17")
    found = []
    for number, loop in open_loops():
        if len(parts) == 2 and number != parts[0]:
            continue
        groups = [loop["root"]] + [
            group for group in each(loop["callback"]["groups"], "struct weft_group", "link")
            if int(group.address) != int(loop["root"].address)]
        seen = set()
        for group in groups:
            for task in tasks_below(group):
                if int(task["flow"]["id"]) == parts[-1] and int(task.address) not in seen:
                    seen.add(int(task.address))
                    found.append((number, loop, task))
    if not found:
        raise gdb.GdbError(f"there is no task #{words}")
    return found


class FrameId:
    """What gdb tells frames apart by; versions before 14 have no class for it."""

    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class Unwinder(gdb.unwinder.Unwinder):
    """Says that the newest frame was called by a parked task."""

    def __init__(self):
        super().__init__("weft")
        self.area = None  # address of the save area; None: the thread's own frames
        self.newest_sp = 0

    def choose(self, task):
        """task: None or a parked one."""
        self.area = None
        gdb.invalidate_cached_frames()
        if task is None:
            return
        newest = gdb.newest_frame()
        name = newest.architecture().name()
        if name not in SAVE_AREAS:
            raise gdb.GdbError(f"the contexts of {name} are not known here")
        if gdb.lookup_static_symbol("weft__ctx_entry") is None:
            try:
                gdb.parse_and_eval("(long)&weft__ctx_entry")
            except gdb.error:
                raise gdb.GdbError("tasks are switched by ucontext, which is not known here")
        self.newest_sp = int(newest.read_register(SAVE_AREAS[name][1])) % 2**64
        self.area = int(task["ctx"]["sp"])
        gdb.invalidate_cached_frames()

    def __call__(self, pending):
        layout = SAVE_AREAS.get(pending.architecture().name())
        if self.area is None or layout is None:
            return None
        size, sp_name, registers = layout
        if int(pending.read_register(sp_name)) % 2**64 != self.newest_sp:
            return None
        memory = gdb.selected_inferior().read_memory(self.area, size).tobytes()
        word = gdb.lookup_type("unsigned long")
        # An id below the task's frames: gdb takes a stack that grows the wrong way for a broken one.
        identity = FrameId(gdb.Value(self.area).cast(word), pending.read_register("pc"))
        info = pending.create_unwind_info(identity)
        for name, at in registers.items():
            value = int.from_bytes(memory[at:at + 8], "little")
            info.add_saved_register(name, gdb.Value(value).cast(word))
        info.add_saved_register(sp_name, gdb.Value(self.area + size).cast(word))
        return info


UNWINDER = Unwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)


def task_frames(task):
    """The frames of a parked task."""
    UNWINDER.choose(task)
    frame = gdb.newest_frame()
    while frame is not None and frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    frame = frame.older() if frame is not None else None
    while frame is not None:
        yield frame
        frame = frame.older()


def print_frames(task):
    """A backtrace like gdb's own."""
    for level, frame in enumerate(task_frames(task)):
        place = frame.find_sal()
        where = f" at {place.symtab.filename}:{place.line}" if place.symtab else ""
        print(f"#{level:<3} {frame.pc():#018x} in {frame.name() or '??'} (){where}")


def why_no_frames(loop, task):
    """None, or why a task's context says nothing."""
    if int(loop["running"]) == int(task.address):
        return "it runs: see `thread apply all bt`"
    return None if bool(task["begun"]) else "it has not begun yet"


# --- Commands -------------------------------------------------------------------------------------

class Weft(gdb.Command):
    """Weft's loops and tasks: weft tree, weft bt ID, weft select [ID]."""

    def __init__(self):
        super().__init__("weft", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class WeftTree(gdb.Command):
    """Prints the groups, tasks, threads, servers and connections of all loops."""

    def __init__(self):
        super().__init__("weft tree", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        loops = open_loops()
        if not loops:
            print("no loop is open")
        for number, loop in loops:
            Tree(number, loop)


class WeftBt(gdb.Command):
    """Prints the backtrace of a parked task: weft bt ID, or weft bt LOOP.ID."""

    def __init__(self):
        super().__init__("weft bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for number, loop, task in find_tasks(argument):
            flow = task["flow"]
            print(f"task {text(flow['name'])} #{number}.{int(flow['id'])} ({text(flow['site'])})")
            why = why_no_frames(loop, task)
            if why is not None:
                print(why)
                continue
            try:
                print_frames(task)
            finally:
                UNWINDER.choose(None)


class WeftSelect(gdb.Command):
    """Lets bt, frame, up and info locals show a parked task: weft select ID; without ID no longer."""

    def __init__(self):
        super().__init__("weft select", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        UNWINDER.choose(None)
        if not argument:
            return
        found = find_tasks(argument)
        if len(found) > 1:
            raise gdb.GdbError("several loops have such a task: give LOOP.ID")
        _, loop, task = found[0]
        why = why_no_frames(loop, task)
        if why is not None:
            raise gdb.GdbError(why)
        for frame in task_frames(task):
            frame.select()
            gdb.execute("frame")
            return


Weft()
WeftTree()
WeftBt()
WeftSelect()
