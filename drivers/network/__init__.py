"""Hosts elsewhere: can they be reached?"""
