from model import make

from phasescope.testing import assert_trainable


def test_the_network_can_be_trained():
    assert_trainable(*make())
