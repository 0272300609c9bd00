"""Print the class path of SendUsage.java: jars from Maven's repository, each checked against jars.lock."""

import os
from pathlib import Path

from ops.stack import artifacts

LOCK = artifacts.read_lock(Path(__file__).with_name("jars.lock"))
print(os.pathsep.join(map(str, artifacts.provide("java", artifacts.cache_dir(), LOCK))))
