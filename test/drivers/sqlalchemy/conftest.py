import pytest
from sqlalchemy.dialects import registry  # noqa: F401
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: F401,F403

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
