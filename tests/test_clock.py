"""The steady clock: what it makes of a wall clock that is set, that drifts, or that cannot be right."""

from broker.clock import EARLIEST, STEP, SteadyClock, boottime, slept

NOW = 1_800_000_000.0


class Machine:
    """A wall clock and a boot clock that move when told."""

    def __init__(self, wall: float = NOW) -> None:
        self.wall = wall
        self.boot = 50.0

    def clock(self, last_seen: float = 0.0) -> SteadyClock:
        """Return a steady clock of this machine."""
        return SteadyClock(lambda: self.wall, lambda: self.boot, last_seen)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.boot += seconds


def test_it_passes_as_time_does() -> None:
    """Awake or asleep: the boot clock counts both."""
    machine = Machine()
    clock = machine.clock()
    machine.forward(8 * 3600)
    assert clock() == NOW + 8 * 3600
    assert clock.ahead() == 0


def test_a_step_is_told_and_not_followed_before_it_is_asked_for() -> None:
    """Nothing jumps by itself; the step is told, in either direction, and followed once the times have moved."""
    for step in (3600.0, -3600.0, STEP, -STEP):
        machine = Machine()
        clock = machine.clock()
        machine.wall += step
        machine.forward(10)
        assert clock() == NOW + 10
        assert clock.ahead() == step
        assert clock() == NOW + 10
        clock.shift(step)
        assert clock() == NOW + 10 + step
        assert clock.ahead() == 0


def test_drift_is_followed_in_silence() -> None:
    """An NTP client's small corrections are no event."""
    machine = Machine()
    clock = machine.clock()
    machine.wall += STEP / 2
    assert clock.ahead() == 0
    assert clock() == machine.wall


def test_a_machine_without_a_battery_goes_on_from_the_last_time_that_is_known() -> None:
    """At boot it shows 1970: tokens are judged by when Keyfob last ran, and by the true time once that is known."""
    machine = Machine(wall=12.0)
    clock = machine.clock(last_seen=NOW)
    machine.forward(30)
    assert clock() == NOW + 30
    assert clock.ahead() == 0
    machine.wall = NOW + 90_000
    assert clock.ahead() == 90_000 - 30
    clock.shift(90_000 - 30)
    assert clock() == NOW + 90_000
    assert Machine(wall=12.0).clock()() == EARLIEST


def test_a_sleep_between_two_readings_is_no_step() -> None:
    """The machine falls asleep after the wall clock was read and before the boot clock is: nothing was set."""
    machine = Machine()

    def wall() -> float:
        shown = machine.wall
        machine.forward(8 * 3600)
        return shown

    clock = SteadyClock(wall, lambda: machine.boot)
    before = clock()
    assert clock.ahead() == 0
    assert clock() == before + 8 * 3600


def test_the_boot_clock_is_the_kernels() -> None:
    """It never goes back."""
    assert 0 < boottime() <= boottime()


def test_the_machines_sleep_is_counted_by_the_kernel() -> None:
    """It is what the boot clock has and the monotonic one has not: the same a moment later, and never negative."""
    assert -0.01 < slept() <= slept() + 0.01
