// The mark.

export const Mark = () => (
  <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <g fill="#8a3f78">
      <circle cx="11" cy="14" r="4.6" />
      <circle cx="21" cy="14" r="4.6" />
      <circle cx="16" cy="21.5" r="4.6" />
      <circle cx="8.5" cy="21" r="3.4" />
      <circle cx="23.5" cy="21" r="3.4" />
      <circle cx="16" cy="28" r="3" />
    </g>
    <path
      fill="#5c8a4a"
      d="M16 11c0-4 2.5-7.5 8-8-.2 4.6-3 7.6-8 8zm0 0c0-3-2.2-5.6-7-6 .2 3.6 2.6 5.8 7 6z"
    />
  </svg>
);
