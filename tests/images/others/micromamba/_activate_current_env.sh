__conda_setup() { export CONDA_PREFIX=/opt/conda/envs/lab CONDA_SHLVL=1 PS1="(base) "; PATH="$CONDA_PREFIX/bin:$PATH"; }
__conda_setup
export -f __conda_setup
