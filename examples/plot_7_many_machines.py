"""
Split a study over machines
===========================

A study is a table of units, split into shards. Any machine that sees the run folder can compute a shard; when all are done, ``join``
reports. Here two processes of this machine take the place of two machines.
"""

# %%
# Every job gets the same command, with a number of its own.
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp()) / "structure"
program = [sys.executable, "-m", "elegans_pyg"]  # the command elegans-pyg
study = shlex.split("analyze cook2019-hermaphrodite --measures triangles --nulls 50 --quiet")
job = [*program, *study, "--out", folder, "--shard"]
jobs = [subprocess.Popen([*job, number], stdout=subprocess.PIPE, text=True) for number in ("1/2", "2/2")]
for started in jobs:
    print(started.communicate()[0], end="")

# %%
# In a job array, the scheduler starts the jobs and numbers them: ``--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"``. A job that is
# killed resumes when it is started again; one that is done does nothing.
#
# ``join`` lists the shards that are missing, or writes the results and prints the tables.
print(subprocess.run([*program, "join", folder], capture_output=True, text=True, check=True).stdout)

# %%
# The folder is then like that of any other run. A unit's seed depends on its family and number alone, so the results do not depend on how
# the study was split.
from elegans_pyg.studies import load_run

load_run(folder).results.head()
