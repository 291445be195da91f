#!/bin/bash
# Workers of one search on a SLURM cluster, each a task of an array:
#
#   sbatch --array=0-31 examples/search_array.sh CONFIG FOLDER [KEY VALUE ...]
#
# FOLDER lies on storage that all nodes see. The study is a journal file in it; for many workers
# add SEARCH.STORAGE with a database. Tasks may start, stop and be requeued at any time; submit
# again to go on. What follows #SBATCH is yours to change.
#SBATCH --job-name=search
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
if (($# < 2)); then
    echo "usage: sbatch --array=0-31 $0 CONFIG FOLDER [KEY VALUE ...]" >&2
    exit 2
fi
config=$1 folder=$(realpath -m "$2")
mkdir -p "$folder"
exec python -m crnas_d2 search --resume --num-workers 1 --config-file "$config" \
    OUTPUT_DIR "$folder" SEARCH.STORAGE "$folder/study.log" "${@:3}"
