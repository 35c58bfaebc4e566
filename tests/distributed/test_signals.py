import os
import signal

import pytest

from darkrank_jax.distributed.signals import catch_signals


def test_holds_a_signal_back_and_restores_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with catch_signals() as requested:
        assert requested() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert requested() == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_acts_at_once():
    with catch_signals() as requested:
        os.kill(os.getpid(), signal.SIGINT)
        assert requested() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
