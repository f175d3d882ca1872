"""A job of Ray in a process of its own, which a test kills in the middle.

``python killed_job.py ADDRESS URL SOURCE OUTPUT CHECKPOINTS``: asks the rows of the Parquet files
in a folder, and writes them to another, block by block.
"""

from __future__ import annotations

import sys

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from opea_core.on_ray import ChatStage

ROWS_OF_A_BLOCK = 20


def main(address: str, url: str, source: str, output: str, checkpoints: str) -> None:
    """Run the job; prints how many rows are in the output at the end."""
    ray.init(address=address, log_to_driver=False)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=checkpoints, delete_checkpoint_on_success=False
    )
    asked = (
        ray.data.read_parquet(source)
        .repartition(target_num_rows_per_block=ROWS_OF_A_BLOCK)
        .map_batches(
            ChatStage,
            fn_constructor_kwargs={
                "template": "{text}",
                "base_url": url,
                "model": "scripted-model",
                "max_concurrent": 4,
            },
            batch_size=10,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=1),
            num_cpus=0.1,
        )
    )
    asked.write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:6])
