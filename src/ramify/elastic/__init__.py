"""What can be searched in a network that exists already: widths, depth and kernels.

elastic = find_elastic(network, torch.zeros(1, 3, 224, 224))
elastic.groups                           # what can be narrower
elastic.member({"layer1.0.conv1": 32})   # the same network, cut to size
elastic.supernet()                       # all members at once
"""

from ramify.elastic.blocks import Kernel, Stage
from ramify.elastic.cutting import Cut
from ramify.elastic.elastic import Elastic, find_elastic
from ramify.elastic.groups import Group
from ramify.elastic.masking import Active, ElasticNetwork
from ramify.elastic.proof import Proof
from ramify.elastic.terms import Terms

__all__ = [
    "Active",
    "Cut",
    "Elastic",
    "ElasticNetwork",
    "Group",
    "Kernel",
    "Proof",
    "Stage",
    "Terms",
    "find_elastic",
]
