"""The methods that describe units in words."""

if __name__ != "dissectbench.methods":
    raise ImportError("this folder is the package dissectbench.methods: import it by that name")
