"""Elo, Bradley-Terry, leaderboards and agreement, with numpy only."""
