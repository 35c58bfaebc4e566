"""Names of ConvNeXt's variables in other projects."""

import pytest
from transformer_files import CONVNEXT_RENAMINGS, loaded, small

from tests.models.saved_weights import same


@pytest.mark.parametrize(("name", "rename"), CONVNEXT_RENAMINGS)
def test_names_of_other_projects_give_equal_variables(name, rename, files, tmp_path):
    tensors, backbone = files(name), small(name)
    other = rename(tensors)
    assert other.keys() != tensors.keys()
    same(loaded(other, tmp_path, backbone), loaded(tensors, tmp_path, backbone))
