from .describe_and_dissect import DescribeAndDissect

__all__ = ["DescribeAndDissect"]
