"""Tables and statistics: what a run tells."""

if __name__ != "dissectbench.results":
    raise ImportError("this folder is the package dissectbench.results: import it by that name")
